//! The process: from a configuration file to workers that serve it, until it is told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::access_log::AccessLog;
use crate::admin::{self, AdminState, Readiness};
use crate::config::{self, Config, ConfigError, ConfigErrors, Loaded};
use crate::files::Files;
use crate::listener::{self, Listener};
use crate::metrics::{ProcessStats, Scrape};
use crate::path;
use crate::snapshot::{Environment, Snapshot};
use crate::upstream::{Letter, Mailboxes};
use crate::worker::{self, MAILBOX_LETTERS, Phase, WorkerParts};

/// How long the access log may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong, or what it asks for cannot be had.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The machine has no threads or event queues to give.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// Everything that a start needs, all checked: what is left can only fail for want of a port or of memory.
pub struct Prepared {
    loaded: Loaded,
    listeners: Vec<Arc<Listener>>,
    snapshot: Snapshot,
    mailboxes: Vec<mpsc::Receiver<Letter>>,
    access_log: Option<AccessLog>,
}

/// Reads a configuration and builds all that it describes, without binding anything.
///
/// # Errors
/// All that is wrong with it.
pub fn prepare(file: &Path) -> Result<Prepared, ConfigErrors> {
    let files = Files::new();
    let loaded = config::load_with(file, &files)?;
    let workers = loaded.config.workers.count();
    let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(MAILBOX_LETTERS)).unzip();
    let mut errors = Vec::new();
    let mut listeners = Vec::new();
    for (index, written) in loaded.config.listeners.iter().enumerate() {
        match Listener::build(index, written, workers, &files) {
            Ok(listener) => listeners.push(Arc::new(listener)),
            Err(error) => {
                errors.push(loaded.source.error(&path!["listeners", index, "tls"], error.to_string()))
            }
        }
    }
    let access_log = open_access_log(&loaded).map_err(|error| errors.push(error)).ok().flatten();
    let mailboxes_of_workers: Mailboxes = senders.into();
    let environment =
        Environment { mailboxes: mailboxes_of_workers, access_log: access_log.clone(), files: &files };
    let snapshot = Snapshot::build(&loaded, &environment);
    if let Err(more) = &snapshot {
        errors.extend(more.errors().iter().cloned());
    }
    ConfigErrors::check(errors)?;
    Ok(Prepared { snapshot: snapshot?, loaded, listeners, mailboxes, access_log })
}

impl Prepared {
    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }
}

fn open_access_log(loaded: &Loaded) -> Result<Option<AccessLog>, ConfigError> {
    let Some(settings) = loaded.config.telemetry.access_log.as_on() else { return Ok(None) };
    AccessLog::open(settings.format, &settings.output).map(Some).map_err(|error| {
        let place = path!["telemetry", "access_log", "output"];
        loaded.source.error(&place, format!("cannot write the access log: {error}"))
    })
}

/// Runs until SIGTERM or SIGINT, and then until the requests in flight have ended, or `shutdown.drain` has.
/// `announce` is given the lines that tell where the gateway listens.
///
/// # Errors
/// A port is taken, or the machine has nothing left to give. Nothing is bound then.
pub fn run(prepared: Prepared, announce: impl FnMut(&str)) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(control(prepared, announce));
    // A lookup that hangs in the resolver must not hold the exit up.
    runtime.shutdown_background();
    result
}

async fn control(prepared: Prepared, mut announce: impl FnMut(&str)) -> Result<(), StartError> {
    let Prepared { loaded, listeners, snapshot, mailboxes, access_log } = prepared;
    let config = &loaded.config;
    let workers = mailboxes.len();
    let mut signals = Signals::new()?;
    let (mut sockets, admin_socket) = bind_all(&loaded, workers)?;

    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    for named in &snapshot.load().upstreams {
        crate::upstream::watch_names(&named.targets);
    }
    let (phase, phase_seen) = watch::channel(Phase::Serving);
    let mut threads = Vec::new();
    let addresses: Vec<SocketAddr> = sockets.iter().filter_map(|(address, _)| *address).collect();
    for (number, mailbox) in mailboxes.into_iter().enumerate() {
        let own = sockets.iter_mut().zip(&listeners);
        let own =
            own.filter_map(|((_, sockets), listener)| Some((sockets.pop()?, listener.clone()))).collect();
        threads.push(worker::start(WorkerParts {
            number,
            sockets: own,
            snapshot: snapshot.clone(),
            mailbox,
            phase: phase_seen.clone(),
        })?);
    }
    drop(phase_seen);

    let state = Arc::new(admin_state(&loaded, &snapshot, &listeners, access_log.clone(), workers));
    for (address, listener) in addresses.iter().zip(&listeners) {
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        announce(&format!("listening on {scheme}://{address} ({})", listener.name()));
    }
    let (admin_ends, admin_end) = tokio::sync::oneshot::channel::<()>();
    if let Some(socket) = admin_socket {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        announce(&format!("admin on http://{}", socket.local_addr()?));
        tokio::spawn(admin::serve(socket, state.clone(), async { drop(admin_end.await) }));
    }
    announce_routes(config, &mut announce);
    announce("ready");
    state.readiness.set_serving();

    signals.stop().await;
    tracing::info!(drain = ?config.drain(), "stopping: no new connections; a second signal ends at once");
    state.readiness.set_draining();
    drain(&phase, threads, config.drain(), signals.stop()).await;
    drop(admin_ends);
    if let Some(log) = access_log {
        log.close(LOG_PATIENCE);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Lets the workers end what they have begun; ends them when time is up or a second signal comes.
async fn drain(
    phase: &watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
    limit: Option<Duration>,
    signal: impl Future<Output = ()>,
) {
    phase.send_replace(Phase::Draining);
    let mut joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    });
    let time_up = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = &mut joined => return,
        () = time_up => {}
        () = signal => tracing::warn!("second signal: ending at once"),
    }
    phase.send_replace(Phase::Ended);
    drop(joined.await);
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// An address as it was bound, and a socket on it for each worker.
type Bound = (Option<SocketAddr>, Vec<std::net::TcpListener>);

/// Binds every listener for every worker, and the admin listener; or none, and says all that is in the way.
fn bind_all(
    loaded: &Loaded,
    workers: usize,
) -> Result<(Vec<Bound>, Option<std::net::TcpListener>), ConfigErrors> {
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for (index, listener) in loaded.config.listeners.iter().enumerate() {
        match listener::bind(listener.socket_address(), workers) {
            Ok(sockets) => {
                let address = sockets.first().and_then(|socket| socket.local_addr().ok());
                bound.push((address, sockets));
            }
            Err(error) => errors.push(cannot_bind(loaded, &path!["listeners", index, "address"], &error)),
        }
    }
    let admin = loaded.config.admin.as_on().map(|admin| bind_admin(admin.address.into()));
    let admin = admin.transpose().unwrap_or_else(|error| {
        errors.push(cannot_bind(loaded, &path!["admin", "address"], &error));
        None
    });
    ConfigErrors::check(errors)?;
    Ok((bound, admin))
}

fn bind_admin(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn cannot_bind(loaded: &Loaded, place: &[config::Segment], error: &io::Error) -> ConfigError {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or write another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: write a higher one, or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: write one of its own",
        _ => "write another address",
    };
    loaded.source.error(place, format!("cannot listen on this address: {error}")).help(help)
}

/// Tells which path is served by what, as the reader of the sample wants to know.
fn announce_routes(config: &Config, announce: &mut impl FnMut(&str)) {
    /// More routes than this are a number.
    const LISTED: usize = 20;
    for route in config.routes.iter().take(LISTED) {
        let answer = match (config.upstream_of(route), &route.redirect) {
            (Some(upstream), _) => {
                let urls: Vec<String> = upstream.all_endpoints().map(|(url, _)| url.to_string()).collect();
                urls.join(", ")
            }
            (None, Some(redirect)) => format!("redirect to {}", redirect.to.as_str()),
            (None, None) => "an answer of its own".to_owned(),
        };
        announce(&format!("route {}: {answer}", route.name()));
    }
    if let Some(more) = config.routes.len().checked_sub(LISTED).filter(|more| *more > 0) {
        announce(&format!("and {more} more routes"));
    }
}

fn admin_state(
    loaded: &Loaded,
    snapshot: &Arc<ArcSwap<Snapshot>>,
    listeners: &[Arc<Listener>],
    access_log: Option<AccessLog>,
    workers: usize,
) -> AdminState {
    let process = Arc::new(ProcessStats::new(workers));
    process.set_generation(1);
    let (of_pools, of_metrics, of_routes) = (snapshot.clone(), snapshot.clone(), snapshot.clone());
    let listeners: Vec<_> = listeners.iter().map(|listener| listener.stats.clone()).collect();
    // As it is written: what came from the environment may be secret.
    let text = loaded.source.text().to_owned();
    AdminState {
        readiness: Readiness::default(),
        pools: Box::new(move || of_pools.load().pools()),
        metrics: Box::new(move || {
            let snapshot = of_metrics.load();
            let scrape = Scrape {
                process: process.clone(),
                listeners: listeners.clone(),
                routes: snapshot.route_stats(),
                pools: snapshot.pools(),
                access_log_dropped: access_log.as_ref().map_or(0, AccessLog::dropped),
            };
            scrape.render().unwrap_or_default()
        }),
        config: Box::new(move || text.clone()),
        routes: Box::new(move || {
            let snapshot = of_routes.load();
            let routes = snapshot.router.routes().map(|(specificity, route)| {
                serde_json::json!({ "route": &*route.name, "specificity": format!("{specificity:?}") })
            });
            serde_json::Value::Array(routes.collect())
        }),
    }
}
