//! A generation: a configuration and everything built from it. It is built beside the active generation, then replaces
//! it.

use std::path::Path;
use std::sync::Arc;

use crate::config::load::code::Code;
use crate::config::load::files::{Files, Fingerprint};
use crate::config::{self, AuthWay, Config, ConfigError, ConfigErrors, ConfigWarnings, Loaded, TokenPlace};
use crate::control::admin::Access;
use crate::control::compile::admin;
use crate::control::compile::commit_plan::CommitPlan;
use crate::control::compile::listeners::Plan;
use crate::control::compile::open_files::OpenFiles;
use crate::control::compile::snapshot::Environment;
use crate::control::compile::warnings::warnings;
use crate::control::diff;
use crate::control::diff::{Changes, Contents};
use crate::control::listeners::{Bound, Listeners, WorkerCommands};
use crate::control::upstreams::names::ActiveResolver;
use crate::observe::access_log;
use crate::observe::access_log::AccessLog;
use crate::path;
use crate::snapshot::Snapshot;
use crate::upstream::WorkerChannels;

/// A configuration and everything built from it.
pub(crate) struct Generation {
    pub(crate) loaded: Loaded,
    /// The fingerprint of the files as they were read.
    pub(crate) files: Fingerprint,
    /// The listeners; none before it is active.
    pub(crate) listeners: Listeners,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) access_log: Option<AccessLog>,
    /// The rules of access to the admin listener.
    pub(crate) access: Arc<Access>,
    /// The resolver of the process.
    pub(crate) resolver: ActiveResolver,
    /// The changes against the generation before it.
    pub(crate) changes: Changes,
    pub(crate) warnings: ConfigWarnings,
}

/// The next generation: checked and built, and not in use yet. Dropping it leaves no trace.
pub(crate) struct Next {
    pub(crate) generation: Generation,
    /// The steps that make it active.
    pub(crate) commit_plan: CommitPlan,
}

impl Generation {
    /// Completes an active generation with its listeners, and logs the warnings that the one `before` did not have.
    /// Returns the commands that make the workers accept, and a line for each new listener.
    pub(crate) fn complete(
        &mut self,
        listeners: Bound,
        before: Option<&Self>,
        workers: usize,
    ) -> (WorkerCommands, Vec<String>) {
        let announcements = listeners.announcements(&self.loaded);
        let (listeners, worker_commands) = listeners.commit();
        self.listeners = listeners;
        match before {
            Some(before) => log(&self.warnings.fresh(&before.warnings)),
            None => log(&self.warnings),
        }
        let needed = |one: &Self| OpenFiles::of(&one.snapshot, &one.listeners, workers);
        needed(self).tell_if_too_many(before.map(needed));
        (worker_commands, announcements)
    }
}

/// The purpose for which a generation is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The generation will serve.
    Serve,
    /// The generation is only checked or compared with: no log file is created.
    Check,
}

impl Next {
    /// Reads a configuration and builds everything that it describes beside the `running` generation, from which it
    /// takes over what did not change. Returns it with the plan of its listeners, because nothing is bound yet.
    /// `channels` returns the workers' channels for the number of workers that the configuration specifies.
    pub(crate) fn build(
        purpose: Purpose,
        file: &Path,
        files: &Files,
        channels: impl FnOnce(usize) -> WorkerChannels,
        running: Option<&Generation>,
    ) -> Result<(Self, Plan), ConfigErrors> {
        let loaded = config::load(file, files)?;
        let mut errors = Vec::new();
        let channels = channels(loaded.config.workers.count());
        let workers = channels.len();
        collect_errors(check_workers(&loaded, workers, running.is_some()), &mut errors);
        let none = Listeners::default();
        let listeners = running.map_or(&none, |running| &running.listeners);
        let plan = collect_errors(listeners.plan(&loaded, workers, files), &mut errors);
        let resolver = running
            .map_or_else(|| ActiveResolver::new(&loaded.config.dns), |running| running.resolver.clone());
        let environment = Environment {
            resolver: resolver.clone(),
            channels: &channels,
            files,
            listeners: plan.as_ref().map(Plan::listener_settings).unwrap_or_default(),
            previous: running.map(|running| &*running.snapshot),
        };
        let snapshot = collect_errors(Snapshot::build(&loaded, &environment), &mut errors);
        let access = collect_errors(admin::access(&loaded, files), &mut errors);
        ConfigErrors::check(errors)?;
        let (Some(plan), Some((mut snapshot, commit_plan)), Some(access)) = (plan, snapshot, access) else {
            return Err(ConfigError::new(Code::System, "the configuration cannot be built").into());
        };
        // This comes last, since it may create a file.
        let access_log = access_log(purpose, &loaded, running)?;
        snapshot.telemetry.access_log = access_log.clone();
        let warnings = warnings(&loaded, Some(&snapshot), files);
        let files = files.fingerprint();
        let changes =
            running.map(|running| changes_against(running, &loaded.config, &files, &plan, &commit_plan));
        let generation = Generation {
            loaded,
            files,
            listeners: none,
            snapshot: Arc::new(snapshot),
            access_log,
            access: Arc::new(access),
            resolver,
            changes: changes.unwrap_or_default(),
            warnings,
        };
        Ok((Self { generation, commit_plan }, plan))
    }
}

/// Logs warnings, each with the advice, its code and its place.
fn log(warnings: &ConfigWarnings) {
    let (shown, more) = warnings.shown();
    for warning in shown {
        let place = warning.position().map(|position| {
            format!("{}:{}:{}", warning.place_name().unwrap_or_default(), position.line, position.column)
        });
        let (message, advice) = (warning.message(), warning.advice().unwrap_or_default());
        tracing::warn!(code = warning.code().as_str(), place, "{message}; {advice}");
    }
    if let Some(more) = more {
        tracing::warn!("there are {more}; `gateway check` lists them");
    }
}

/// Collects errors, so that all of them are reported together.
pub(crate) fn collect_errors<T>(
    result: Result<T, impl Into<ConfigErrors>>,
    errors: &mut Vec<ConfigError>,
) -> Option<T> {
    result.map_err(|more| errors.extend(more.into().errors().iter().cloned())).ok()
}

/// Checks that a reload does not change the number of workers, which is that of the running threads and their sockets.
fn check_workers(loaded: &Loaded, running: usize, is_reload: bool) -> Result<(), ConfigError> {
    let wanted = loaded.config.workers.count();
    if !is_reload || wanted == running {
        return Ok(());
    }
    let place = path!["workers"];
    let wanted = loaded.source.shown(&place, &wanted.to_string());
    let message = format!("`workers` cannot change from {running} to {wanted} while the gateway runs");
    Err(loaded
        .source
        .error(Code::NeedsRestart, &place, message)
        .help("restart the gateway to change it, or restore the number"))
}

/// Returns the access log: the open one, if the configuration specifies the same, or a new one with the same output. Each
/// reload has checked before whether its file was moved away.
fn access_log(
    purpose: Purpose,
    loaded: &Loaded,
    running: Option<&Generation>,
) -> Result<Option<AccessLog>, ConfigError> {
    let Some(settings) = loaded.config.telemetry.access_log.as_on() else { return Ok(None) };
    let open = running.and_then(|running| running.access_log.as_ref());
    let opened = match purpose {
        Purpose::Serve => {
            let credentials: Vec<TokenPlace> =
                loaded.config.auth.values().flat_map(AuthWay::credentials).collect();
            AccessLog::open(settings, &credentials, open).map(Some)
        }
        Purpose::Check => access_log::check_output(settings).map(|()| None),
    };
    opened.map_err(|error| {
        let place = path!["telemetry", "access_log", "output"];
        loaded.source.error(Code::FileUnwritable, &place, format!("cannot write the access log: {error}"))
    })
}

fn changes_against(
    running: &Generation,
    config: &Config,
    files: &Fingerprint,
    plan: &Plan,
    commit_plan: &CommitPlan,
) -> Changes {
    let before = &running.loaded.config;
    let contents = Contents { before: &running.files, after: files };
    Changes {
        listeners: plan.changes(),
        routes: diff::routes(before, config, contents),
        filters: diff::filters(before, config, contents),
        pools: commit_plan.pool_changes(&running.snapshot),
        settings: diff::settings(before, config),
    }
}
