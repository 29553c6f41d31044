//! The process: from a configuration file to workers that serve it, until a signal stops it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::config::load::code::Code;
use crate::config::load::files::Files;
use crate::config::{self, Config, ConfigError, ConfigErrors, ConfigWarnings};
use crate::control::admin::{AdminState, Readiness, ReloadRequests};
use crate::control::blocking::BlockingThread;
use crate::control::compile::generation::{Generation, Next, Purpose};
use crate::control::compile::listeners::Plan;
use crate::control::compile::open_files;
use crate::control::compile::warnings::warnings;
use crate::control::diff::Changes;
use crate::control::providers::Provider;
use crate::control::providers::file::FileProvider;
use crate::control::providers::update::Requests;
use crate::control::reload::{AdminServer, Process, Reloader, RetiredSnapshots, Sockets, Status};
use crate::control::service_manager::ServiceManager;
use crate::control::signals::{OperatorSignal, OperatorSignals, Signals, StopSignals, refuse_hangups};
use crate::control::workers::Workers;
use crate::observe::access_log::{AccessLog, Reopened};
use crate::observe::traces::Traces;
use crate::router::RequestLine;
use crate::upstream::{PoolCommands, WorkerChannels, worker_channel};
use crate::worker::POOL_COMMANDS_MAX;

/// The time that the access log may take to write its last lines, and meanwhile the exporter of traces to send its last spans.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The number of reload requests that may wait for the one in progress.
const RELOADS_WAITING: usize = 8;

/// The reason why the process could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration is wrong, or an address or a file that it specifies is not available.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The operating system cannot provide a thread or an event queue.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// Everything that a start needs, checked and built. The rest can only fail for lack of a port or of memory.
pub(crate) struct Prepared {
    file: PathBuf,
    next: Next,
    /// The plan of its listeners, which are not bound yet.
    plan: Plan,
    channels: WorkerChannels,
    pool_commands: Vec<PoolCommands>,
}

/// Reads a configuration and builds everything that it describes, without binding anything. A `text` that is not on
/// disk stands in for the content of `file`; other files are still read, relative to its folder.
pub(crate) fn prepare(purpose: Purpose, file: &Path, text: Option<&[u8]>) -> Result<Prepared, ConfigErrors> {
    let files = files_with(file, text);
    let (mut channels, mut pool_commands) = (WorkerChannels::default(), Vec::new());
    let open = |workers| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| worker_channel(POOL_COMMANDS_MAX)).unzip();
        (channels, pool_commands) = (senders.into(), receivers);
        channels.clone()
    };
    let (next, plan) = Next::build(purpose, file, &files, open, None)?;
    Ok(Prepared { file: file.to_owned(), next, plan, channels, pool_commands })
}

/// Returns the warnings of a configuration that cannot be built: those for which the file and what it names suffice. There are none if
/// the file itself has errors, because a part that seems to have no use may be named wrongly. A `text` has the meaning that it has for
/// [`prepare`].
pub(crate) fn warnings_beside_errors(file: &Path, text: Option<&[u8]>) -> ConfigWarnings {
    let files = files_with(file, text);
    let loaded = config::load(file, &files);
    loaded.map(|loaded| warnings(&loaded, None, &files)).unwrap_or_default()
}

/// Returns the files of a load, in which a `text` stands in for the content of `file`.
fn files_with(file: &Path, text: Option<&[u8]>) -> Files {
    let files = Files::new();
    if let Some(text) = text {
        files.give(file, text);
    }
    files
}

impl Prepared {
    pub(crate) fn config(&self) -> &Config {
        &self.next.generation.loaded.config
    }

    pub(crate) fn warnings(&self) -> &ConfigWarnings {
        &self.next.generation.warnings
    }

    /// Returns the changes that a reload with another file would make if this were the active configuration. A `text` has
    /// the meaning that it has for [`prepare`].
    pub(crate) fn changes_to(self, file: &Path, text: Option<&[u8]>) -> Result<Changes, ConfigErrors> {
        let files = files_with(file, text);
        let Self { next, plan, channels, .. } = self;
        let running = Generation { listeners: plan.unbound(), ..next.generation };
        let (next, _) = Next::build(Purpose::Check, file, &files, |_| channels, Some(&running))?;
        Ok(next.generation.changes)
    }
}

/// Prepares and serves until SIGTERM, SIGINT or SIGQUIT, and then until the requests in flight have ended or
/// `shutdown.drain` has passed. `prepare` runs on a thread of its own, so that such a signal ends the process even
/// while a filter compiles or starts. `announce` receives the lines that show where the gateway listens.
///
/// # Errors
/// Returns an error if the configuration is wrong, a port is taken, or the operating system is out of resources.
/// Nothing is bound then.
pub(crate) fn run(
    prepare: impl FnOnce() -> Result<Prepared, ConfigErrors> + Send + 'static,
    announce: impl FnMut(&str),
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let manager = Arc::new(ServiceManager::from_environment());
        manager.status("reading the configuration");
        open_files::raise_limit();
        let prepared = tokio::select! {
            prepared = tokio::task::spawn_blocking(prepare) => prepared,
            signal = signals.stop.next() => {
                stopped_early(signal);
                return Ok(());
            }
        };
        let prepared = prepared.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(ConfigError::new(Code::System, format!("cannot start: {error}")).into()),
        })?;
        control(prepared, signals, manager, announce).await
    });
    // A lookup that hangs in the resolver must not delay the exit.
    runtime.shutdown_background();
    result
}

async fn control(
    prepared: Prepared,
    signals: Signals,
    manager: Arc<ServiceManager>,
    mut announce: impl FnMut(&str),
) -> Result<(), StartError> {
    let Signals { mut stop, hangup, mut operator } = signals;
    let (requests, reloads) = mpsc::channel(RELOADS_WAITING);
    let (file, channels) = (prepared.file.clone(), prepared.channels.clone());
    manager.status("starting filters and listeners");
    let started = start(prepared, requests, manager.clone(), &mut stop, &mut announce).await?;
    let Some((process, operators)) = started else {
        return Ok(());
    };
    let (status, old) = (process.status.clone(), process.old.clone());
    let pulse = process.workers.pulse();
    let thread = BlockingThread::new();
    let active = status.generation().files.clone();
    let provider = FileProvider::new(file, active, Requests::new(hangup, reloads), thread.clone())?;
    let mut reloader = Reloader::new(Provider::File(provider), channels, process, thread);
    announce("ready");
    operators.readiness.set_serving();
    manager.ready(&status.sentence());
    let obey = obey_operators(&mut operator, &status, &old);
    let mut obey = std::pin::pin!(obey);
    let samples = status.take_samples();
    // One future runs from the start to the drain: a delay does not interrupt a reload that has begun.
    tokio::select! {
        () = stopping(&mut stop, &status, &operators.readiness, &manager) => {}
        () = reloader.run(&mut announce) => {}
        () = old.release() => {}
        () = samples => {}
        () = crate::control::watchdog::watch(&manager, pulse) => {}
        () = &mut obey => {}
    }

    let Process { workers, admin, .. } = reloader.into_process();
    let drain = status.generation().loaded.config.drain();
    let hangups = refuse_hangups();
    let limit = drain.map_or("no limit".to_owned(), |limit| format!("{limit:?}"));
    tracing::info!(drain = limit, "stopping: no new connections; a second signal ends at once");
    operators.readiness.set_draining();
    status.generation().listeners.running.iter().for_each(|one| one.listener.remove_file());
    manager.stopping(drain.map(until_exit), "draining: requests in flight end, new connections are refused");
    tokio::select! {
        () = workers.drain(drain, async { _ = stop.next().await }) => {}
        () = hangups => {}
        () = &mut obey => {}
    }
    drop(admin);
    // Requests from before a reload have written their lines to the log of that time.
    let until = Instant::now() + LOG_PATIENCE;
    let traces = all_traces(&status, &old);
    traces.iter().for_each(|traces| traces.end(LOG_PATIENCE));
    for log in access_logs(&status, &old) {
        log.close(until.saturating_duration_since(Instant::now()));
    }
    for traces in traces {
        // What is left then has been dropped and counted, or is about to be.
        drop(tokio::time::timeout_at(until.into(), traces.ended()).await);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a signal to stop and then for `shutdown.delay`, or for a second signal.
async fn stopping(stop: &mut StopSignals, status: &Status, readiness: &Readiness, manager: &ServiceManager) {
    let signal = stop.first().await;
    let config = &status.generation().loaded.config;
    let Some(delay) = config.shutdown_delay() else { return };
    readiness.set_draining();
    let limit = config.drain().map(|drain| until_exit(delay.saturating_add(drain)));
    manager.stopping(limit, "stopping: still accepting until `shutdown.delay` is over");
    tracing::info!(
        signal,
        ?delay,
        "/ready answers 503 from now on; draining begins after the delay or a second signal"
    );
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        signal = stop.next() => tracing::info!(signal, "second signal: draining begins now"),
    }
}

/// Returns the maximum time until the process exits, after waits of this length.
const fn until_exit(waits: Duration) -> Duration {
    waits.saturating_add(LOG_PATIENCE).saturating_add(LOG_PATIENCE)
}

/// Executes SIGUSR1 and SIGUSR2. Never ends.
async fn obey_operators(signals: &mut OperatorSignals, status: &Status, old: &RetiredSnapshots) {
    loop {
        match signals.next().await {
            OperatorSignal::Reserved => tracing::info!("SIGUSR2 is reserved and does nothing"),
            OperatorSignal::ReopenLogs => {
                let logs = access_logs(status, old);
                if logs.is_empty() {
                    tracing::info!("SIGUSR1: there is no access log to reopen");
                }
                logs.iter().for_each(reopen);
            }
        }
    }
}

/// Returns the current access log, and those of earlier generations that requests still write to; each once.
fn access_logs(status: &Status, old: &RetiredSnapshots) -> Vec<AccessLog> {
    let mut logs: Vec<AccessLog> = Vec::new();
    // The current one first: closing may run out of time.
    for log in status.generation().access_log.clone().into_iter().chain(old.access_logs()) {
        if !logs.iter().any(|known| known.has_same_output(&log)) {
            logs.push(log);
        }
    }
    logs
}

/// Returns the current traces, and those of earlier generations that requests have added to; each once.
fn all_traces(status: &Status, old: &RetiredSnapshots) -> Vec<Traces> {
    let mut all: Vec<Traces> = Vec::new();
    let current = status.generation().snapshot.telemetry.traces.clone();
    for traces in current.into_iter().chain(old.traces()) {
        if !all.iter().any(|known| known.is_same(&traces)) {
            all.push(traces);
        }
    }
    all
}

fn reopen(log: &AccessLog) {
    let output = log.output();
    match log.reopen() {
        Ok(Reopened::Anew) => tracing::info!(%output, "SIGUSR1: the access log is reopened"),
        Ok(Reopened::Same) => {
            tracing::info!(%output, "SIGUSR1: the access log's file was not moved; writing to it continues");
        }
        Ok(Reopened::NoFile) => {
            tracing::info!("SIGUSR1: the access log goes to {output}; there is nothing to reopen")
        }
        Err(error) => {
            tracing::error!(%output, "SIGUSR1: the access log cannot be reopened and stays in its old file: {error}");
        }
    }
}

fn stopped_early(signal: &str) {
    tracing::info!(signal, "stopped before the start was complete");
}

/// Binds, starts the workers and the filters, listens, and announces the addresses. Returns `None` if a signal to stop
/// arrives before it listens; a later signal finds connections that must be drained.
async fn start(
    prepared: Prepared,
    reloads: ReloadRequests,
    manager: Arc<ServiceManager>,
    stop: &mut StopSignals,
    announce: &mut impl FnMut(&str),
) -> Result<Option<(Process, Arc<AdminState>)>, StartError> {
    let Prepared { next: Next { mut generation, mut commit_plan }, plan, pool_commands, .. } = prepared;
    let sockets = Sockets::bind(plan, &generation.loaded, pool_commands.len(), None, None)?;
    let shared = Arc::new(ArcSwap::new(generation.snapshot.clone()));
    commit_plan.connect_stores().await;
    commit_plan.complete(None, &generation.snapshot);
    let count = pool_commands.len();
    let workers = Workers::start(&shared, pool_commands)?;
    tokio::select! {
        () = workers.start_filters(&generation.snapshot.plugins) => {}
        signal = stop.next() => {
            stopped_early(signal);
            return Ok(None);
        }
    }
    sockets.listen(&generation.loaded)?;
    let (worker_commands, announcements) = generation.complete(sockets.listeners, None, count);
    workers.obey(worker_commands).await?;
    announcements.iter().for_each(|line| announce(line));
    let status = Arc::new(Status::new(generation, count));
    let old: Arc<RetiredSnapshots> = Arc::default();
    let operators = Arc::new(crate::control::operators::admin_state(status.clone(), old.clone(), reloads));
    let mut admin = AdminServer::new(operators.clone());
    admin.commit(sockets.admin, announce);
    let generation = status.generation();
    let listeners =
        generation.listeners.running.iter().map(|one| (one.listener.id.number(), one.address().clone()));
    let is_routed = |request: &RequestLine<'_>, name: &str| {
        generation.snapshot.router.find(request).is_some_and(|found| &*found.value.name == name)
    };
    crate::control::announce::routes(
        &generation.loaded,
        &listeners.collect::<Vec<_>>(),
        &is_routed,
        announce,
    );
    Ok(Some((Process { workers, snapshot: shared, status, old, admin, manager }, operators)))
}
