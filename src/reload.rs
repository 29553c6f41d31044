//! Reloading: what brings one about, and what it does.
//!
//! Everything that can fail comes first and touches nothing that runs: reading, checking, building beside what serves,
//! binding new listeners, looking new names up. What is left is done at once and cannot fail: one pointer is swapped, and
//! what has changed is told to those whom it concerns.

mod old;
mod sockets;
mod status;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

pub(crate) use old::Old;
pub(crate) use sockets::{AdminServer, Sockets};
pub(crate) use status::Status;

use crate::access_log::AccessLog;
use crate::admin::{ReloadOutcome, ReloadRequest};
use crate::config::{ConfigError, ConfigErrors, Shutdown};
use crate::files::{Files, Fingerprint};
use crate::generation::{Built, Generation, Next, Refused};
use crate::listener::Listeners;
use crate::snapshot::Snapshot;
use crate::upstream::Mailboxes;
use crate::watch::Watcher;
use crate::worker::Workers;

/// How often what older snapshots have left behind is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keeps what serves as the files on disk have it.
pub(crate) struct Reloader {
    file: PathBuf,
    mailboxes: Mailboxes,
    running: Running,
    watcher: Watcher,
    hangup: Signal,
    requests: mpsc::Receiver<ReloadRequest>,
    /// The files as they were when they were last read, for good or for bad.
    seen: Fingerprint,
}

/// What there is one of while the process serves.
pub(crate) struct Running {
    pub(crate) workers: Workers,
    /// What the workers see.
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) status: Arc<Status>,
    pub(crate) old: Arc<Old>,
    pub(crate) admin: AdminServer,
}

/// A next generation with its sockets: nothing can be in its way any more.
struct Ready {
    built: Built,
    sockets: Sockets,
}

/// What came of an attempt.
enum Outcome {
    /// The files are what serves already.
    Unchanged,
    /// They serve now.
    Live,
    Refused(String),
}

impl Reloader {
    /// Watches the files of the generation that serves.
    pub(crate) fn new(
        file: PathBuf,
        mailboxes: Mailboxes,
        hangup: Signal,
        running: Running,
        requests: mpsc::Receiver<ReloadRequest>,
    ) -> Self {
        let seen = running.status.generation().files.clone();
        let mut watcher = Watcher::new();
        watcher.watch(seen.paths().map(Path::to_owned));
        Self { file, mailboxes, running, watcher, hangup, requests, seen }
    }

    /// Reloads whenever there is a reason to. Runs until it is dropped; between two awaits it leaves nothing half done.
    pub(crate) async fn run(&mut self, announce: &mut impl FnMut(&str)) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                () = self.watcher.changed() => {
                    if self.read_again(&self.seen).await != self.seen {
                        self.reload(announce).await;
                    }
                }
                Some(()) = self.hangup.recv() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    self.reload(announce).await;
                }
                Some(request) = self.requests.recv() => {
                    let outcome = self.reload(announce).await;
                    // Who asked may be gone.
                    drop(request.send(self.answer(outcome)));
                }
                _ = sweep.tick(), if !self.running.old.is_empty() => self.running.old.sweep(),
            }
        }
    }
}

impl Reloader {
    /// Makes what is on disk serve, if it is good and differs from what does.
    async fn reload(&mut self, announce: &mut impl FnMut(&str)) -> Outcome {
        let began = Instant::now();
        let generation = self.running.status.generation();
        reopen(generation.access_log.as_ref());
        let found = self.read_again(&generation.files).await;
        if found == generation.files {
            self.seen = found;
            return self.unchanged();
        }
        let outcome = match self.prepare(&generation, found).await {
            Ok(ready) => {
                self.seen = ready.built.files.clone();
                self.commit(ready, began, announce).await;
                Outcome::Live
            }
            Err(Refused { errors, files }) => {
                self.seen = files;
                self.refuse(&errors)
            }
        };
        // Those of what serves, too: whoever puts them back as they were wants that to be noticed.
        let serving = self.running.status.generation();
        self.watcher.watch(self.seen.paths().chain(serving.files.paths()).map(Path::to_owned));
        outcome
    }

    /// What runs on when nothing is reloaded any more.
    pub(crate) fn into_running(self) -> Running {
        self.running
    }

    async fn read_again(&self, files: &Fingerprint) -> Fingerprint {
        let files = files.clone();
        // Fails only with the runtime, which ends.
        tokio::task::spawn_blocking(move || files.again()).await.unwrap_or_default()
    }

    /// All that can fail. `found` is what the files that serve are on disk: seen, where the build has nothing to say.
    async fn prepare(&self, running: &Arc<Generation>, found: Fingerprint) -> Result<Ready, Refused> {
        let (file, mailboxes, before) = (self.file.clone(), self.mailboxes.clone(), running.clone());
        let (built, building) = oneshot::channel();
        // A thread of its own: the admin listener and DNS go on meanwhile.
        let build = move || {
            // Whoever waits for it may be gone.
            drop(built.send(Next::build(&file, &Files::new(), |_| mailboxes, Some(&before))));
        };
        let started = std::thread::Builder::new().name("reload".to_owned()).spawn(build);
        let next = match started {
            Ok(_thread) => building.await.map_err(|_panicked| cannot("the program has a fault", found))?,
            Err(error) => Err(cannot(&format!("no thread to be had: {error}"), found)),
        }?;
        let Next { built, plan } = next;
        built.handover.resolve().await;
        // Last, because whoever comes in from now on waits until somebody accepts.
        let held = self.running.admin.address();
        match Sockets::bind(plan, &built.loaded, self.mailboxes.len(), Some(running), held) {
            Ok(sockets) => Ok(Ready { built, sockets }),
            Err(errors) => Err(Refused { errors, files: built.files }),
        }
    }

    /// From here on, the next generation serves.
    async fn commit(&mut self, ready: Ready, began: Instant, announce: &mut impl FnMut(&str)) {
        let Ready { built, sockets } = ready;
        let Built { loaded, files, snapshot, handover, access_log, changes, .. } = built;
        let before = self.running.snapshot.swap(snapshot.clone());
        let leaving = handover.complete(Some(&before));
        end_removed_routes(&before, &snapshot, &loaded.config.shutdown);
        let mut listeners = Listeners::default();
        for added in sockets.listeners.added() {
            announce(&added.announcement());
        }
        // Before anybody accepts at what may have been its address: its task has to run to let go of that.
        self.running.admin.commit(sockets.admin, announce);
        tokio::task::yield_now().await;
        if let Err(error) = self.running.workers.commit(&mut listeners, sockets.listeners).await {
            tracing::error!("not every worker listens everywhere: {error}");
        }
        self.running.old.add(before, leaving);
        let took = began.elapsed();
        let summary = changes.to_string();
        let generation = Generation { loaded, files, listeners, snapshot, access_log };
        self.running.status.replace(generation, changes);
        let number = self.running.status.stats().reloaded(took);
        tracing::info!(generation = number, changed = %summary, ?took, "configuration reloaded");
    }

    fn refuse(&self, errors: &ConfigErrors) -> Outcome {
        let text = errors.to_string();
        let generation = self.running.status.stats().generation();
        self.running.status.refused(text.clone());
        tracing::error!(generation, "configuration refused; generation {generation} goes on serving\n{text}");
        Outcome::Refused(text)
    }

    fn unchanged(&self) -> Outcome {
        let generation = self.running.status.stats().generation();
        if self.running.status.stats().is_in_sync() {
            tracing::info!(generation, "the configuration is what serves already");
        } else {
            self.running.status.back_in_sync();
            tracing::info!(generation, "the configuration is again what serves");
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

/// Opens a log anew that was moved away, whatever the configuration on disk is worth: who moves logs away wants to have them.
fn reopen(log: Option<&AccessLog>) {
    if let Some(Err(error)) = log.map(AccessLog::reopen) {
        tracing::error!("the access log cannot be opened anew, and goes on where it is: {error}");
    }
}

fn cannot(why: &str, files: Fingerprint) -> Refused {
    let errors = ConfigError::new(format!("cannot reload: {why}")).into();
    Refused { errors, files }
}

/// Sets the streams of routes that are gone their limit, where the configuration has one for them.
fn end_removed_routes(before: &Snapshot, now: &Snapshot, shutdown: &Shutdown) {
    let Some(limit) = shutdown.drain.duration().filter(|_| shutdown.drain_removed_routes) else { return };
    let kept: HashSet<&str> = now.router.routes().map(|(_, route)| &*route.name).collect();
    let gone = before.router.routes().filter(|(_, route)| !kept.contains(&*route.name));
    for removal in gone.filter_map(|(_, route)| route.removal().cloned()) {
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            removal.end();
        });
    }
}
