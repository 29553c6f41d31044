//! The sockets of a generation. They are bound before anything else is done, so that a taken port changes nothing, and
//! they listen only once connections are about to be accepted.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::load::code::Code;
use crate::config::{Address, Admin, ConfigErrors, Loaded, OrOff, Segment};
use crate::control::admin;
use crate::control::admin::AdminState;
use crate::control::compile::generation::{Generation, collect_errors};
use crate::control::compile::listeners::Plan;
use crate::control::listeners::Bound;
use crate::downstream::bind;
use crate::downstream::bind::cannot_bind;
use crate::path;

pub(crate) struct Sockets {
    pub(crate) listeners: Bound,
    pub(crate) admin: AdminChange,
    /// The addresses that this process is releasing. A new address may overlap them.
    going: Vec<SocketAddr>,
}

/// The change of the admin listener.
pub(crate) enum AdminChange {
    Kept,
    Off,
    On(TcpListener),
}

impl Sockets {
    /// Binds new sockets for all workers. Clients are refused until [`Sockets::listen`]. `held` is the present address
    /// of the admin listener.
    ///
    /// # Errors
    /// Returns an error for each address that cannot be bound, at its place in the file. Nothing is bound then.
    pub(crate) fn bind(
        plan: Plan,
        loaded: &Loaded,
        workers: usize,
        running: Option<&Generation>,
        held: Option<SocketAddr>,
    ) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut going = plan.going();
        let admin = running.map(|running| &running.loaded.config.admin);
        let is_kept = admin.is_some_and(|admin| address_of(admin) == address_of(&loaded.config.admin));
        if !is_kept {
            going.extend(held);
        }
        let own: Vec<_> = plan.own().chain(held.filter(|_| is_kept)).collect();
        let admin = collect_errors(bind_admin(loaded, admin, &going, &own), &mut errors);
        let listeners = collect_errors(plan.bind(loaded, workers, &own, &going), &mut errors);
        ConfigErrors::check(errors)?;
        match (listeners, admin) {
            (Some(listeners), Some(admin)) => Ok(Self { listeners, admin, going }),
            _ => Err(crate::config::ConfigError::new(Code::System, "cannot listen").into()),
        }
    }

    /// Begins to listen on the new sockets. Clients then wait in the queue until they are accepted.
    ///
    /// # Errors
    /// Returns an error for each address at which another program has begun to listen since it was bound, at its place
    /// in the file.
    pub(crate) fn listen(&self, loaded: &Loaded) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        if let (AdminChange::On(socket), Some(wanted)) = (&self.admin, loaded.config.admin.as_on()) {
            let listening =
                socket.local_addr().and_then(|address| bind::listen(address, [socket], &self.going));
            let failed = listening.err();
            errors.extend(
                failed.map(|error| cannot_bind(loaded, &admin_place(), wanted.address.into(), &error, &[])),
            );
        }
        errors.extend(self.listeners.listen(loaded, &self.going));
        ConfigErrors::check(errors)
    }
}

/// Returns the address of the admin listener, by which a reload recognises it.
fn address_of(admin: &OrOff<Admin>) -> Option<Address> {
    admin.as_on().map(|admin| admin.address)
}

fn admin_place() -> [Segment; 2] {
    path!["admin", "address"]
}

fn bind_admin(
    loaded: &Loaded,
    running: Option<&OrOff<Admin>>,
    going: &[SocketAddr],
    own: &[SocketAddr],
) -> Result<AdminChange, ConfigErrors> {
    let Some(wanted) = loaded.config.admin.as_on() else { return Ok(AdminChange::Off) };
    if running.is_some_and(|running| address_of(running) == Some(wanted.address)) {
        return Ok(AdminChange::Kept);
    }
    let (address, place) = (wanted.address.into(), admin_place());
    let bound = bind::bind(address, 1, going);
    let (_, sockets) = bound.map_err(|error| cannot_bind(loaded, &place, address, &error, own))?;
    Ok(sockets.into_iter().next().map_or(AdminChange::Off, AdminChange::On))
}

/// The admin listener, whatever its address.
pub(crate) struct AdminServer {
    state: Arc<AdminState>,
    /// Its address, and the sender that ends it when dropped.
    serving: Option<(SocketAddr, oneshot::Sender<()>)>,
}

impl AdminServer {
    /// Creates an admin listener without a socket.
    pub(crate) fn new(state: Arc<AdminState>) -> Self {
        Self { state, serving: None }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|(address, _)| *address)
    }

    /// Switches to another socket, or stops serving. The old socket is closed as soon as its task runs, so that neither
    /// a client of the address's next owner nor a later reload finds it there.
    pub(crate) fn commit(&mut self, change: AdminChange, announce: &mut impl FnMut(&str)) {
        let next = match change {
            AdminChange::Kept => return,
            AdminChange::Off => None,
            AdminChange::On(socket) => match self.start(socket) {
                Ok(serving) => {
                    announce(&format!("admin on http://{}", serving.0));
                    Some(serving)
                }
                Err(error) => {
                    tracing::error!("the admin listener cannot start: {error}");
                    None
                }
            },
        };
        self.serving = next;
    }

    fn start(&self, socket: TcpListener) -> std::io::Result<(SocketAddr, oneshot::Sender<()>)> {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let address = socket.local_addr()?;
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(admin::serve(socket, self.state.clone(), async { drop(ended.await) }));
        Ok((address, end))
    }
}
