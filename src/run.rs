//! The process: from a configuration file to workers that serve it, until it is told to stop.

mod operators;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{AdminState, ReloadRequests};
use crate::changes::Changes;
use crate::config::{Config, ConfigErrors};
use crate::files::Files;
use crate::generation::{Built, Generation, Next};
use crate::reload::{AdminServer, Old, Reloader, Running, Sockets, Status};
use crate::upstream::{Letters, mailbox};
use crate::worker::{MAILBOX_LETTERS, Workers};

/// How long the access log may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Reloads that may wait for the one that is being done.
const RELOADS_WAITING: usize = 8;

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
    file: PathBuf,
    next: Next,
    mailboxes: Vec<Letters>,
}

/// Reads a configuration and builds all that it describes, without binding anything.
///
/// # Errors
/// All that is wrong with it.
pub fn prepare(file: &Path) -> Result<Prepared, ConfigErrors> {
    prepare_with(file, &Files::new())
}

/// As [`prepare`], for the text of a configuration that is not on disk; what it names is, as seen from `file`'s folder.
///
/// # Errors
/// All that is wrong with it.
pub fn prepare_text(text: &str, file: &Path) -> Result<Prepared, ConfigErrors> {
    let files = Files::new();
    files.give(file, text.as_bytes());
    prepare_with(file, &files)
}

fn prepare_with(file: &Path, files: &Files) -> Result<Prepared, ConfigErrors> {
    let mut mailboxes = Vec::new();
    let open = |workers| {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mailbox(MAILBOX_LETTERS)).unzip();
        mailboxes = receivers;
        senders.into()
    };
    let next = Next::build(file, files, open, None).map_err(|refused| refused.errors)?;
    Ok(Prepared { file: file.to_owned(), next, mailboxes })
}

impl Prepared {
    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.next.built.loaded.config
    }

    /// What a reload with another file would change, if this were what serves.
    ///
    /// # Errors
    /// All that is wrong with that file.
    pub fn changes_to(self, file: &Path) -> Result<Changes, ConfigErrors> {
        let Next { built, plan } = self.next;
        let mailboxes = built.mailboxes.clone();
        let running = built.into_generation(plan.unbound());
        let next = Next::build(file, &Files::new(), |_| mailboxes, Some(&running));
        next.map(|next| next.built.changes).map_err(|refused| refused.errors)
    }
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
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let (requests, reloads) = mpsc::channel(RELOADS_WAITING);
    let (file, mailboxes) = (prepared.file.clone(), prepared.next.built.mailboxes.clone());
    let (running, operators) = start(prepared, requests, &mut announce).await?;
    let mut reloader = Reloader::new(file, mailboxes, hangup, running, reloads)?;
    announce("ready");
    operators.readiness.set_serving();
    tokio::select! {
        () = signals.stop() => {}
        () = reloader.run(&mut announce) => {}
    }

    let Running { workers, status, old, admin, .. } = reloader.into_running();
    let drain = status.generation().loaded.config.drain();
    tracing::info!(?drain, "stopping: no new connections; a second signal ends at once");
    operators.readiness.set_draining();
    workers.drain(drain, signals.stop()).await;
    drop(admin);
    // Requests from before a reload have written their lines into the logs of that time.
    for log in old.access_logs().iter().chain(&status.generation().access_log) {
        log.close(LOG_PATIENCE);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Binds, starts the workers, and tells where they listen.
async fn start(
    prepared: Prepared,
    reloads: ReloadRequests,
    announce: &mut impl FnMut(&str),
) -> Result<(Running, Arc<AdminState>), StartError> {
    let Prepared { next: Next { built, plan }, mailboxes, .. } = prepared;
    let sockets = Sockets::bind(plan, &built.loaded, mailboxes.len(), None, None)?;
    let Built { loaded, files, snapshot, handover, access_log, .. } = built;
    let shared = Arc::new(ArcSwap::new(snapshot.clone()));
    handover.complete(None, &snapshot);
    let count = mailboxes.len();
    let workers = Workers::start(&shared, mailboxes)?;
    let (listeners, orders) = sockets.listeners.commit();
    workers.obey(orders).await?;
    listeners.iter().for_each(|listener| announce(&listener.announcement()));
    let generation = Generation { loaded, files, listeners, snapshot, access_log };
    let status = Arc::new(Status::new(generation, count));
    let old: Arc<Old> = Arc::default();
    let operators = Arc::new(operators::admin_state(status.clone(), old.clone(), reloads));
    let mut admin = AdminServer::new(operators.clone());
    admin.commit(sockets.admin, announce);
    announce_routes(&status.generation().loaded.config, announce);
    Ok((Running { workers, snapshot: shared, status, old, admin }, operators))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
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
