//! The sockets of a generation: bound before anything else is done, so that a taken port changes nothing, and listening only
//! when somebody is about to accept.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::{Admin, ConfigErrors, Loaded, OrOff, Segment};
use crate::control::admin;
use crate::control::admin::AdminState;
use crate::control::compile::generation::Generation;
use crate::control::compile::listeners::Plan;
use crate::control::listeners::Bound;
use crate::downstream::bind;
use crate::downstream::bind::cannot_bind;
use crate::path;

/// What a generation listens on.
pub(crate) struct Sockets {
    pub(crate) listeners: Bound,
    pub(crate) admin: AdminChange,
    /// What this process lets go of, as an address that is new may be part of it.
    going: Vec<SocketAddr>,
}

/// What becomes of the admin listener.
pub(crate) enum AdminChange {
    Kept,
    Off,
    On(TcpListener),
}

impl Sockets {
    /// Binds what is new, for all workers; clients are refused until [`Sockets::listen`]. `held` is where the admin listener is
    /// now.
    ///
    /// # Errors
    /// All addresses that cannot be had, each at its place in the file. Nothing is bound then.
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
        if admin.is_some_and(|admin| *admin != loaded.config.admin) {
            going.extend(held);
        }
        let is_kept = admin == Some(&loaded.config.admin);
        let plan = plan.beside(held.filter(|_| is_kept));
        let admin = bind_admin(loaded, admin, &going, &plan.own());
        let admin = admin.map_err(|more: ConfigErrors| errors.extend(more.errors().iter().cloned())).ok();
        let listeners = plan.bind(loaded, workers, &going);
        let listeners = listeners.map_err(|more| errors.extend(more.errors().iter().cloned())).ok();
        ConfigErrors::check(errors)?;
        match (listeners, admin) {
            (Some(listeners), Some(admin)) => Ok(Self { listeners, admin, going }),
            _ => Err(crate::config::ConfigError::new("cannot listen").into()),
        }
    }

    /// Lets clients in at what is new. They wait until somebody accepts.
    ///
    /// # Errors
    /// All addresses at which another program has begun to listen since they were bound, each at its place in the file.
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
    if running == Some(&loaded.config.admin) {
        return Ok(AdminChange::Kept);
    }
    let (address, place) = (wanted.address.into(), admin_place());
    let bound = bind::bind(address, 1, going);
    let (_, sockets) = bound.map_err(|error| cannot_bind(loaded, &place, address, &error, own))?;
    Ok(sockets.into_iter().next().map_or(AdminChange::Off, AdminChange::On))
}

/// The admin listener, wherever it is at the time.
pub(crate) struct AdminServer {
    state: Arc<AdminState>,
    /// Its address, and what ends it when it is dropped.
    serving: Option<(SocketAddr, oneshot::Sender<()>)>,
}

impl AdminServer {
    /// One that is nowhere yet.
    pub(crate) fn new(state: Arc<AdminState>) -> Self {
        Self { state, serving: None }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|(address, _)| *address)
    }

    /// Serves on another socket, or no more. The one before is closed as soon as its task runs, so that neither a client
    /// of whoever has the address next nor a later reload finds it there.
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
                    tracing::error!("the admin listener cannot be had: {error}");
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
