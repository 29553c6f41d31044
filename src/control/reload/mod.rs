//! Reloading: from an update to an active generation.
//!
//! Everything that can fail comes first and touches nothing that runs: reading, checking, building beside the active
//! generation, binding new listeners, resolving new names. The rest happens at once and cannot fail: one pointer is
//! swapped, and the parts that the change concerns are notified.

mod history;
mod retired;
mod sockets;
mod status;

use std::sync::Arc;

use arc_swap::ArcSwap;
pub(crate) use history::{ErrorReport, ReloadHistory, ReloadReport};
use serde_json::json;
pub(crate) use sockets::{AdminServer, Sockets};
pub(crate) use status::{Status, StatusReport};
use tokio::time::Instant;

use crate::config::ConfigErrors;
use crate::control::admin::ReloadOutcome;
use crate::control::blocking::BlockingThread;
use crate::control::compile::generation::{Generation, Next, Purpose};
use crate::control::providers::Provider;
use crate::control::providers::update::{Reason, Refused, Update};
pub(crate) use crate::control::reload::retired::RetiredSnapshots;
use crate::control::service_manager::ServiceManager;
use crate::control::workers::Workers;
use crate::observe::access_log::AccessLog;
use crate::snapshot::Snapshot;
use crate::upstream::WorkerChannels;

/// The reloader, which activates the provider's updates.
pub(crate) struct Reloader {
    provider: Provider,
    channels: WorkerChannels,
    process: Process,
    thread: BlockingThread,
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

impl Reloader {
    pub(crate) fn new(
        provider: Provider,
        channels: WorkerChannels,
        process: Process,
        thread: BlockingThread,
    ) -> Self {
        Self { provider, channels, process, thread }
    }

    /// Activates each update. Runs until it is dropped.
    pub(crate) async fn run(&mut self, announce: &mut impl FnMut(&str)) {
        loop {
            let update = self.provider.next().await;
            self.reload(update, announce).await;
        }
    }

    /// Reloads, and notifies the service manager of the begin and the end. A retry is not reported as a state of its
    /// own: until an address is free, there may be one every few seconds.
    async fn reload(&mut self, mut update: Update, announce: &mut impl FnMut(&str)) {
        let (reason, request) = (update.reason, update.request.take());
        if reason != Reason::Retry {
            self.process.manager.reloading();
        }
        let outcome = self.activate(update, announce).await;
        let sentence = self.process.status.sentence();
        if reason == Reason::Retry {
            self.process.manager.status(&sentence);
        } else {
            self.process.manager.ready(&sentence);
        }
        if let Some(request) = request {
            // The client may be gone.
            drop(request.send(self.answer(outcome)));
        }
    }

    /// Activates an update, if it is valid and differs from the active generation. Returns true if it does, or the
    /// refusal.
    async fn activate(
        &mut self,
        update: Update,
        announce: &mut impl FnMut(&str),
    ) -> Result<bool, ReloadOutcome> {
        let (began, reason) = (Instant::now(), update.reason);
        let active = self.process.status.generation();
        reopen(active.access_log.as_ref());
        let prepared = self.prepare(update, &active).await;
        let is_active = matches!(prepared, Ok(None));
        if !is_active && reason == Reason::Changed && self.provider.is_changing() {
            // The update may be half of the next one, which will follow.
            return Ok(false);
        }
        let started = match prepared {
            Ok(Some((next, sockets))) => self.start(next, sockets).await.map(Some),
            other => other,
        };
        match started {
            Ok(Some((next, sockets))) => {
                self.commit(next, sockets, began, announce).await;
                self.provider.report(reason, Ok(&self.process.status.generation().files));
                Ok(true)
            }
            Ok(None) => {
                self.provider.report(reason, Ok(&active.files));
                self.unchanged(reason);
                Ok(false)
            }
            Err(refused) if self.provider.report(reason, Err(&refused)) => {
                Err(self.refuse(&refused.errors, reason))
            }
            Err(_) => Ok(false),
        }
    }

    /// Returns the parts of the process that continue to run when reloading ends.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    /// Reads, builds, resolves and binds: nearly everything that can fail. Dropping the result leaves nothing behind.
    /// Returns `None` if the update is the active generation.
    async fn prepare(
        &self,
        update: Update,
        active: &Arc<Generation>,
    ) -> Result<Option<(Next, Sockets)>, Refused> {
        let (channels, before) = (self.channels.clone(), active.clone());
        let build = move || {
            if before.files.again() == before.files {
                return Ok(None);
            }
            let Update { name, files, .. } = &update;
            let next = Next::build(Purpose::Serve, name, files, |_| channels, Some(&before))
                .map_err(|errors| Refused { errors, files: Some(files.fingerprint()) })?;
            // The contents may have been restored after they had been found to differ.
            Ok(Some(next).filter(|(next, _)| next.generation.files != before.files))
        };
        let next = self.thread.run(build).await.map_err(|error| Refused::transient(error, None))?;
        let Some((mut next, plan)) = next? else { return Ok(None) };
        let Generation { loaded, files, .. } = &next.generation;
        let refused = |errors| Refused::transient(errors, Some(files.clone()));
        next.commit_plan.resolve(&loaded.source).await.map_err(refused)?;
        next.commit_plan.connect_stores().await;
        let held = self.process.admin.address();
        let sockets = Sockets::bind(plan, loaded, self.channels.len(), Some(active), held);
        let sockets = sockets.map_err(refused)?;
        Ok(Some((next, sockets)))
    }

    /// Starts the filters, and then begins to listen on the new sockets. Starting filters may take long, and a client
    /// that connects earlier would have to wait for it.
    async fn start(&self, next: Next, sockets: Sockets) -> Result<(Next, Sockets), Refused> {
        let Generation { loaded, files, snapshot, .. } = &next.generation;
        let workers = &self.process.workers;
        next.commit_plan.introduce(snapshot);
        workers.start_filters(&snapshot.plugins).await;
        if let Err(errors) = sockets.listen(loaded) {
            workers.end_other_filters().await;
            return Err(Refused::transient(errors, Some(files.clone())));
        }
        Ok((next, sockets))
    }

    /// Activates the next generation.
    async fn commit(
        &mut self,
        next: Next,
        sockets: Sockets,
        began: Instant,
        announce: &mut impl FnMut(&str),
    ) {
        let Next { mut generation, commit_plan } = next;
        let before = self.process.snapshot.swap(generation.snapshot.clone());
        let leaving = commit_plan.complete(Some(&before), &generation.snapshot);
        let shutdown = &generation.loaded.config.shutdown;
        generation
            .snapshot
            .limit_removed_routes(shutdown.drain.duration().filter(|_| shutdown.drain_removed_routes));
        // Switch the admin listener before other listeners accept on what may have been its address.
        self.process.admin.commit(sockets.admin, announce);
        self.process.old.add(before, leaving);
        let summary = generation.changes.to_string();
        let active = self.process.status.generation();
        let (worker_commands, announcements) =
            generation.complete(sockets.listeners, Some(&active), self.channels.len());
        let number = self.process.status.replace(generation);
        // This comes last, because a signal to stop may arrive while the workers are awaited: the process then ends by
        // the settings of this generation, and writes the last lines of its access log.
        // First the admin listener's task has to run and release an address that a listener may take over.
        tokio::task::yield_now().await;
        if let Err(error) = self.process.workers.obey(worker_commands).await {
            tracing::error!("not every worker listens on all addresses: {error}");
        }
        announcements.iter().for_each(|line| announce(line));
        let took = began.elapsed();
        self.process.status.reloaded(took);
        tracing::info!(generation = number, changed = %summary, ?took, "configuration reloaded");
    }

    /// Records a refusal, and returns it.
    fn refuse(&self, errors: &ConfigErrors, reason: Reason) -> ReloadOutcome {
        let text = errors.to_string();
        let generation = self.process.status.stats().generation();
        let is_news = self.process.status.refused(errors);
        if is_news || reason != Reason::Retry {
            self.process.status.stats().reload_refused();
            tracing::error!(
                "configuration refused; generation {generation} continues to serve\n{}",
                text.trim_end()
            );
        }
        ReloadOutcome::Refused { errors: json!(ErrorReport::of(errors)), text }
    }

    fn unchanged(&self, reason: Reason) {
        let generation = self.process.status.stats().generation();
        if !self.process.status.stats().is_in_sync() {
            self.process.status.back_in_sync();
            tracing::info!(generation, "the configuration on disk matches the running one again");
        } else if reason == Reason::Asked {
            tracing::info!(generation, "the configuration has not changed");
        }
    }

    fn answer(&self, outcome: Result<bool, ReloadOutcome>) -> ReloadOutcome {
        match outcome {
            Err(refusal) => refusal,
            Ok(has_changed) => ReloadOutcome::Live(json!(self.process.status.report().after(has_changed))),
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
