//! Reloading: its triggers and its steps.
//!
//! Everything that can fail comes first and touches nothing that runs: reading, checking, building beside the active
//! generation, binding new listeners, resolving new names. The rest happens at once and cannot fail: one pointer is
//! swapped, and the parts that the change concerns are notified.

mod retired;
mod sockets;
mod status;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
pub(crate) use sockets::{AdminServer, Sockets};
pub(crate) use status::Status;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};

use crate::config::load::files::{Files, Fingerprint};
use crate::config::{ConfigError, ConfigErrors};
use crate::control::admin::{ReloadOutcome, ReloadRequest};
use crate::control::compile::generation::{Built, Generation, Next, Purpose, Refused};
use crate::control::compile::open_files::OpenFiles;
pub(crate) use crate::control::reload::retired::RetiredSnapshots;
use crate::control::service_manager::ServiceManager;
use crate::control::watch::BackgroundWatcher;
use crate::control::workers::Workers;
use crate::observe::access_log::AccessLog;
use crate::snapshot::Snapshot;
use crate::upstream::WorkerChannels;

/// The interval at which remains of older snapshots are released.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The delay before retrying a reload that failed for a reason outside of the files.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The time for which named files may be inconsistent before an error is logged: a renewal of a certificate writes it
/// and its key one after the other, or removes both first.
const RENEWAL: Duration = Duration::from_secs(2);

/// The maximum time of a renewal while files keep changing.
const RENEWAL_MAX: Duration = Duration::from_secs(10);

/// The time limit for reading the files and building from them. Ten thousand routes take a fifth of a second. A module
/// of 25 MiB takes some twenty seconds of CPU time to compile, and competes with the workers for it.
const READING_LIMIT: Duration = Duration::from_secs(120);

/// The reloader, which keeps the active generation equal to the files on disk.
pub(crate) struct Reloader {
    file: PathBuf,
    channels: WorkerChannels,
    running: Process,
    watcher: BackgroundWatcher,
    hangup: Signal,
    requests: mpsc::Receiver<ReloadRequest>,
    /// The files as they were last read, with or without errors.
    seen: Fingerprint,
    /// The time of the next try after a failure for a reason outside of the files.
    retry_at: Option<Instant>,
    /// The time of the first change of a possible renewal of named files.
    renewing_since: Option<Instant>,
    /// A token that each thread holds while it reads files.
    reading: Arc<()>,
}

/// The parts of the process that exist once while it serves.
pub(crate) struct Process {
    pub(crate) workers: Workers,
    /// The snapshot that the workers load.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) status: Arc<Status>,
    pub(crate) old: Arc<RetiredSnapshots>,
    pub(crate) admin: AdminServer,
    pub(crate) manager: Arc<ServiceManager>,
}

/// The next generation with its sockets, which are bound.
struct Ready {
    built: Built,
    sockets: Sockets,
}

/// The reason for which the files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The files have changed.
    Changed,
    /// An operator requests it.
    Asked,
    /// The obstacle of an earlier try may be gone.
    Retry,
}

/// The obstacle that prevents the next generation.
enum Obstacle {
    /// An error in the files. It remains until they change.
    Files(Refused),
    /// An obstacle outside of the files, such as an address that is taken, and the files as far as they were read.
    Elsewhere(ConfigErrors, Option<Fingerprint>),
}

impl Obstacle {
    fn of(refused: Refused) -> Self {
        match refused {
            Refused { errors, files } if errors.is_transient() => Self::Elsewhere(errors, Some(files)),
            refused => Self::Files(refused),
        }
    }
}

/// The outcome of a reload.
enum Outcome {
    /// The files match the active generation already.
    Unchanged,
    /// The files are active now.
    Live,
    Refused(String),
}

impl Reloader {
    /// Creates a reloader that watches the files of the active generation.
    ///
    /// # Errors
    /// Returns an error if the operating system cannot provide a thread for that.
    pub(crate) fn new(
        file: PathBuf,
        channels: WorkerChannels,
        hangup: Signal,
        running: Process,
        requests: mpsc::Receiver<ReloadRequest>,
    ) -> io::Result<Self> {
        let seen = running.status.generation().files.clone();
        let watcher = BackgroundWatcher::start(seen.paths().map(Path::to_owned).collect())?;
        let reading = Arc::default();
        Ok(Self {
            file,
            channels,
            running,
            watcher,
            hangup,
            requests,
            seen,
            retry_at: None,
            renewing_since: None,
            reading,
        })
    }

    /// Reloads whenever there is a reason to. Runs until it is dropped.
    pub(crate) async fn run(&mut self, announce: &mut impl FnMut(&str)) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry_at = self.retry_at;
            let retry = async {
                match retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.watcher.changed() => {
                    if self.read_again(&self.seen).await.is_none_or(|found| found != self.seen) {
                        self.reload(Reason::Changed, announce).await;
                    }
                }
                Some(()) = self.hangup.recv() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    self.reload(Reason::Asked, announce).await;
                }
                Some(request) = self.requests.recv() => {
                    let outcome = self.reload(Reason::Asked, announce).await;
                    // The client may be gone.
                    drop(request.send(self.answer(outcome)));
                }
                () = retry => drop(self.reload(Reason::Retry, announce).await),
                _ = sweep.tick(), if !self.running.old.is_empty() => self.running.old.sweep(),
            }
        }
    }

    /// Reloads, and notifies the service manager of the begin and the end. A retry is not reported as a state of its
    /// own: until an address is free, there may be one every few seconds.
    async fn reload(&mut self, reason: Reason, announce: &mut impl FnMut(&str)) -> Outcome {
        if reason != Reason::Retry {
            self.running.manager.reloading();
        }
        let outcome = self.load_and_swap(reason, announce).await;
        let sentence = self.running.status.sentence();
        if reason == Reason::Retry {
            self.running.manager.status(&sentence);
        } else {
            self.running.manager.ready(&sentence);
        }
        outcome
    }

    /// Activates the files on disk, if they are valid and differ from the active generation.
    async fn load_and_swap(&mut self, reason: Reason, announce: &mut impl FnMut(&str)) -> Outcome {
        let began = Instant::now();
        let retry_at = self.retry_at.take();
        let generation = self.running.status.generation();
        reopen(generation.access_log.as_ref());
        let found = self.read_again(&generation.files).await;
        if found.as_ref() == Some(&generation.files) {
            self.seen = generation.files.clone();
            self.renewing_since = None;
            return self.unchanged(reason);
        }
        let prepared = self.prepare(&generation).await;
        if reason == Reason::Changed && self.watcher.is_writing() {
            // The files may have been read half written. The watcher reports the end of the writing. If the files are
            // then as they were last seen, only the retry is left.
            self.retry_at = retry_at;
            return Outcome::Unchanged;
        }
        let started = match prepared {
            // The files were restored after they had been found to differ.
            Ok(ready) if ready.built.files == generation.files => {
                self.seen = ready.built.files;
                self.renewing_since = None;
                return self.unchanged(reason);
            }
            Ok(ready) => self.start(ready).await,
            Err(obstacle) => Err(obstacle),
        };
        let outcome = match started {
            Ok(ready) => {
                self.renewing_since = None;
                self.seen = ready.built.files.clone();
                self.commit(ready, began, announce).await;
                Outcome::Live
            }
            Err(Obstacle::Files(Refused { files, .. }))
                if self.may_be_renewal(reason, &files, &generation) =>
            {
                tracing::debug!(
                    "files that the configuration names may be about to be renewed: waiting for the rest"
                );
                self.seen = files;
                self.retry_at = Some(Instant::now() + RENEWAL);
                Outcome::Unchanged
            }
            Err(Obstacle::Files(Refused { errors, files })) => {
                self.renewing_since = None;
                self.seen = files;
                self.refuse(&errors, reason)
            }
            Err(Obstacle::Elsewhere(errors, files)) => {
                self.renewing_since = None;
                self.seen = files.or(found).unwrap_or_else(|| self.seen.clone());
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                self.refuse(&errors, reason)
            }
        };
        // Also watch the active generation's files, so that reverting an edit is noticed.
        let serving = self.running.status.generation();
        self.watcher.watch(self.seen.paths().chain(serving.files.paths()).map(Path::to_owned).collect());
        outcome
    }

    /// Returns true if only files that the configuration names have changed, and only recently: the error may be that
    /// they are half renewed.
    fn may_be_renewal(&mut self, reason: Reason, files: &Fingerprint, serving: &Generation) -> bool {
        if reason != Reason::Changed || files.mark(&self.file) != serving.files.mark(&self.file) {
            return false;
        }
        self.renewing_since.get_or_insert_with(Instant::now).elapsed() < RENEWAL_MAX
    }

    /// Returns the parts of the process that continue to run when reloading ends.
    pub(crate) fn into_running(self) -> Process {
        self.running
    }

    /// Reads the same files again. Returns `None` if the file system does not respond.
    async fn read_again(&self, files: &Fingerprint) -> Option<Fingerprint> {
        let files = files.clone();
        self.run_blocking(move || files.again()).await.ok()
    }

    /// Builds, resolves and binds: nearly everything that can fail. Dropping the result leaves nothing behind.
    async fn prepare(&self, running: &Arc<Generation>) -> Result<Ready, Obstacle> {
        let (file, channels, before) = (self.file.clone(), self.channels.clone(), running.clone());
        let build = move || Next::build(Purpose::Serve, &file, &Files::new(), |_| channels, Some(&before));
        let next = self.run_blocking(build).await.map_err(|error| Obstacle::Elsewhere(error.into(), None))?;
        let Next { built, plan } = next.map_err(Obstacle::of)?;
        let elsewhere = |errors, files: &Fingerprint| Obstacle::Elsewhere(errors, Some(files.clone()));
        built
            .commit_plan
            .resolve(&built.loaded.source)
            .await
            .map_err(|errors| elsewhere(errors, &built.files))?;
        let held = self.running.admin.address();
        let sockets = Sockets::bind(plan, &built.loaded, self.channels.len(), Some(running), held);
        let sockets = sockets.map_err(|errors| elsewhere(errors, &built.files))?;
        Ok(Ready { built, sockets })
    }

    /// Starts the filters, and then begins to listen on the new sockets. Starting filters may take long, and a client
    /// that connects earlier would have to wait for it.
    async fn start(&self, ready: Ready) -> Result<Ready, Obstacle> {
        let Ready { built, sockets } = &ready;
        let workers = &self.running.workers;
        built.commit_plan.introduce(&built.snapshot);
        workers.start_filters(&built.snapshot.plugins).await;
        if let Err(errors) = sockets.listen(&built.loaded) {
            workers.end_other_filters().await;
            return Err(Obstacle::Elsewhere(errors, Some(built.files.clone())));
        }
        Ok(ready)
    }

    /// Runs work on a thread of its own, so that the admin listener and DNS continue meanwhile, and a file system that
    /// does not respond delays nothing else. Returns an error while earlier work is still running.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ConfigError> {
        let cannot = |why: &str| ConfigError::new(format!("cannot reload: {why}"));
        let mine = self.reading.clone();
        if Arc::strong_count(&mine) > 2 {
            return Err(cannot("reading the files for an earlier reload has not ended yet"));
        }
        let (done, working) = oneshot::channel();
        let work = move || {
            let result = work();
            drop(mine);
            // The receiver may be gone.
            drop(done.send(result));
        };
        let started = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
        started.map_err(|error| cannot(&format!("no thread is available: {error}")))?;
        match timeout(READING_LIMIT, working).await {
            Ok(result) => {
                result.map_err(|_panicked| cannot("internal error: the thread that reads the files panicked"))
            }
            Err(_elapsed) => {
                let limit = READING_LIMIT.as_secs();
                Err(cannot(&format!("the files that it names could not be read within {limit} s")))
            }
        }
    }

    /// Activates the next generation.
    async fn commit(&mut self, ready: Ready, began: Instant, announce: &mut impl FnMut(&str)) {
        let Ready { built, sockets } = ready;
        let Built { loaded, files, snapshot, commit_plan, access_log, changes, warnings, .. } = built;
        let before = self.running.snapshot.swap(snapshot.clone());
        let leaving = commit_plan.complete(Some(&before), &snapshot);
        let shutdown = &loaded.config.shutdown;
        snapshot.limit_removed_routes(shutdown.drain.duration().filter(|_| shutdown.drain_removed_routes));
        let announcements = sockets.listeners.announcements(&loaded);
        // Switch the admin listener before other listeners accept on what may have been its address.
        self.running.admin.commit(sockets.admin, announce);
        self.running.old.add(before, leaving);
        let summary = changes.to_string();
        let (listeners, worker_commands) = sockets.listeners.commit();
        let generation = Generation { loaded, files, listeners, snapshot, access_log, warnings };
        let known = self.running.status.generation();
        for warning in generation.warnings.iter().filter(|warning| !known.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let workers = self.channels.len();
        let needed_before = OpenFiles::of(&self.running.status.generation(), workers);
        OpenFiles::of(&generation, workers).tell_if_too_many(Some(needed_before));
        let number = self.running.status.replace(generation, changes);
        // This comes last, because a signal to stop may arrive while the workers are awaited: the process then ends by
        // the settings of this generation, and writes the last lines of its access log.
        // First the admin listener's task has to run and release an address that a listener may take over.
        tokio::task::yield_now().await;
        if let Err(error) = self.running.workers.obey(worker_commands).await {
            tracing::error!("not every worker listens on all addresses: {error}");
        }
        announcements.iter().for_each(|line| announce(line));
        let took = began.elapsed();
        self.running.status.stats().reloaded(took);
        tracing::info!(generation = number, changed = %summary, ?took, "configuration reloaded");
    }

    fn refuse(&self, errors: &ConfigErrors, reason: Reason) -> Outcome {
        let text = errors.to_string();
        let generation = self.running.status.stats().generation();
        let is_news = self.running.status.refused(&text);
        if is_news || reason != Reason::Retry {
            self.running.status.stats().reload_refused();
            tracing::error!(
                "configuration refused; generation {generation} continues to serve\n{}",
                text.trim_end()
            );
        }
        Outcome::Refused(text)
    }

    fn unchanged(&self, reason: Reason) -> Outcome {
        let generation = self.running.status.stats().generation();
        if self.running.status.stats().is_in_sync() {
            if reason == Reason::Asked {
                tracing::info!(generation, "the configuration has not changed");
            }
        } else {
            self.running.status.back_in_sync();
            tracing::info!(generation, "the configuration on disk matches the running one again");
        }
        Outcome::Unchanged
    }

    fn answer(&self, outcome: Outcome) -> ReloadOutcome {
        match outcome {
            Outcome::Refused(errors) => ReloadOutcome::Refused(errors),
            Outcome::Live | Outcome::Unchanged => {
                let mut report = self.running.status.report();
                if let Some(report) = report.as_object_mut() {
                    report.insert("changed".to_owned(), matches!(outcome, Outcome::Live).into());
                }
                ReloadOutcome::Live(report)
            }
        }
    }
}

/// Reopens a log whose file was moved away. It does so even if the configuration on disk turns out to be invalid: a
/// rotation must not depend on it.
fn reopen(log: Option<&AccessLog>) {
    if let Some(Err(error)) = log.map(AccessLog::reopen) {
        tracing::error!("the access log cannot be reopened and stays in its old file: {error}");
    }
}
