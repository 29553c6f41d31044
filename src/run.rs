//! The process: from a configuration file to workers that serve it, until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::access_log::AccessLog;
use crate::admin::{self, AdminState, Readiness};
use crate::config::{self, Config, ConfigError, ConfigErrors, Loaded};
use crate::listener::{Bound, Listeners, Plan, cannot_bind};
use crate::metrics::{ProcessStats, Scrape};
use crate::path;
use crate::snapshot::{Environment, Snapshot};
use crate::upstream::{Letter, Mailboxes};
use crate::worker::{MAILBOX_LETTERS, Workers};

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
    listeners: Plan,
    snapshot: Snapshot,
    mailboxes: Vec<mpsc::Receiver<Letter>>,
    access_log: Option<AccessLog>,
}

/// Reads a configuration and builds all that it describes, without binding anything.
///
/// # Errors
/// All that is wrong with it.
pub fn prepare(file: &Path) -> Result<Prepared, ConfigErrors> {
    let loaded = config::load(file)?;
    let workers = loaded.config.workers.count();
    let (senders, mailboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(MAILBOX_LETTERS)).unzip();
    let mut errors = Vec::new();
    let listeners = Listeners::default().plan(&loaded, workers);
    if let Err(wrong) = &listeners {
        errors.extend(wrong.errors().iter().cloned());
    }
    let access_log = open_access_log(&loaded).map_err(|error| errors.push(error)).ok().flatten();
    let mailboxes_of_workers: Mailboxes = senders.into();
    let environment = Environment {
        mailboxes: mailboxes_of_workers,
        access_log: access_log.clone(),
        listeners: listeners.as_ref().map(Plan::entrances).unwrap_or_default(),
    };
    let snapshot = Snapshot::build(&loaded, &environment);
    if let Err(more) = &snapshot {
        errors.extend(more.errors().iter().cloned());
    }
    ConfigErrors::check(errors)?;
    Ok(Prepared { snapshot: snapshot?, listeners: listeners?, loaded, mailboxes, access_log })
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
    let Prepared { loaded, listeners: plan, snapshot, mailboxes, access_log } = prepared;
    let config = &loaded.config;
    let workers = mailboxes.len();
    let mut signals = Signals::new()?;
    let (bound, admin_socket) = bind_all(&loaded, plan, workers)?;

    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    for named in &snapshot.load().upstreams {
        crate::upstream::watch_names(&named.targets);
    }
    let running = Workers::start(&snapshot, mailboxes)?;
    let mut listeners = Listeners::default();
    running.commit(&mut listeners, bound).await?;

    let state = Arc::new(admin_state(&loaded, &snapshot, access_log.clone(), workers));
    for listener in listeners.iter() {
        let scheme = if listener.entrance.tls.is_some() { "https" } else { "http" };
        announce(&format!("listening on {scheme}://{} ({})", listener.address(), listener.name()));
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
    running.drain(config.drain(), signals.stop()).await;
    drop(admin_ends);
    if let Some(log) = access_log {
        log.close(LOG_PATIENCE);
    }
    tracing::info!("stopped");
    Ok(())
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

/// Binds the listeners that are new, and the admin listener; or none, and says all that is in the way.
fn bind_all(
    loaded: &Loaded,
    plan: Plan,
    workers: usize,
) -> Result<(Bound, Option<std::net::TcpListener>), ConfigErrors> {
    let bound = plan.bind(loaded, workers);
    let admin = loaded.config.admin.as_on().map(|admin| bind_admin(admin.address.into())).transpose();
    let admin = admin.map_err(|error| cannot_bind(loaded, &path!["admin", "address"], &error));
    match (bound, admin) {
        (Ok(bound), Ok(admin)) => Ok((bound, admin)),
        (bound, admin) => {
            let mut errors: Vec<ConfigError> = admin.err().into_iter().collect();
            errors.extend(bound.err().iter().flat_map(ConfigErrors::errors).cloned());
            Err(ConfigErrors::check(errors).err().unwrap_or_else(|| ConfigError::new("cannot listen").into()))
        }
    }
}

fn bind_admin(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
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
    access_log: Option<AccessLog>,
    workers: usize,
) -> AdminState {
    let process = Arc::new(ProcessStats::new(workers));
    process.set_generation(1);
    let (of_pools, of_metrics, of_routes) = (snapshot.clone(), snapshot.clone(), snapshot.clone());
    // As it is written: what came from the environment may be secret.
    let text = loaded.source.text().to_owned();
    AdminState {
        readiness: Readiness::default(),
        pools: Box::new(move || of_pools.load().pools()),
        metrics: Box::new(move || {
            let snapshot = of_metrics.load();
            let scrape = Scrape {
                process: process.clone(),
                listeners: snapshot.listener_stats(),
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
