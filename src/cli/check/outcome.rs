//! The outcome of a check: the errors, the warnings, the changes.

use std::path::Path;
use std::sync::Arc;

use super::args::{CheckArgs, Denied};
use crate::config::{self, Code, ConfigError, ConfigErrors, ConfigWarning, ConfigWarnings};
use crate::control::admin::Client;
use crate::control::announce::reachable;
use crate::control::compile::generation::Purpose;
use crate::control::diff::Changes;
use crate::control::process::{Prepared, prepare, warnings_beside_errors};

/// The outcome of a check.
pub(super) struct Outcome {
    /// The name of the file.
    pub(super) name: String,
    /// The errors of the file, or those of a comparison.
    pub(super) failure: Option<Failure>,
    pub(super) warnings: ConfigWarnings,
    /// True if warnings fail the check.
    are_warnings_denied: bool,
    /// The numbers of listeners and routes of a valid file.
    pub(super) counts: Option<(usize, usize)>,
    pub(super) changes: Option<Changes>,
}

/// The reason for which a check fails, besides warnings.
pub(super) enum Failure {
    Invalid(ConfigErrors),
    /// There is nothing to compare with, or it has errors of its own.
    Incomparable(Box<ConfigError>, Option<ConfigErrors>),
}

/// A file, or a text in its place.
struct Input<'a> {
    file: &'a Path,
    text: Option<Arc<[u8]>>,
}

impl Outcome {
    pub(super) fn of(args: &CheckArgs, file: &Path) -> Self {
        let file = args.stdin_name.as_deref().unwrap_or(file);
        let mut outcome = Self {
            name: config::display_name(file),
            failure: None,
            warnings: ConfigWarnings::default(),
            are_warnings_denied: args.deny == Some(Denied::Warnings),
            counts: None,
            changes: None,
        };
        outcome.failure = outcome.check(args, file).err();
        outcome
    }

    fn check(&mut self, args: &CheckArgs, file: &Path) -> Result<(), Failure> {
        let text = args.stdin_name.as_ref().map(|_| config::standard_input());
        let input = Input { file, text: text.transpose().map_err(Failure::Invalid)? };
        let prepared = prepare(Purpose::Check, input.file, input.text.as_deref());
        self.warnings = match &prepared {
            Ok(prepared) => prepared.warnings().clone(),
            Err(_) => warnings_beside_errors(input.file, input.text.as_deref()),
        };
        self.warnings.allow(&args.allow);
        let prepared = prepared.map_err(Failure::Invalid)?;
        self.counts = Some((prepared.config().listeners.len(), prepared.config().routes.len()));
        if args.diff {
            self.changes = Some(differences(args, &input, &prepared)?);
        }
        Ok(())
    }

    /// Returns true if the check succeeds.
    pub(super) fn is_good(&self) -> bool {
        self.failure.is_none() && !(self.are_warnings_denied && self.warnings.len() > 0)
    }

    /// Returns all errors in their order, then all warnings in theirs.
    pub(super) fn findings(&self) -> impl Iterator<Item = &ConfigError> {
        let (first, errors) = match &self.failure {
            None => (None, None),
            Some(Failure::Invalid(errors)) => (None, Some(errors)),
            Some(Failure::Incomparable(error, errors)) => (Some(&**error), errors.as_ref()),
        };
        let errors = errors.into_iter().flat_map(ConfigErrors::errors);
        first.into_iter().chain(errors).chain(self.warnings.iter().map(ConfigWarning::finding))
    }
}

fn differences(args: &CheckArgs, input: &Input<'_>, prepared: &Prepared) -> Result<Changes, Failure> {
    let incomparable = |message: &str, errors| {
        Failure::Incomparable(Box::new(ConfigError::new(Code::NoComparison, message)), errors)
    };
    let admin =
        || prepared.config().admin.as_on().map(|admin| format!("http://{}", reachable(admin.address.into())));
    let Some(against) = args.against.clone().or_else(admin) else {
        let message =
            "name what to compare with: `--against FILE`, or `--against` the URL of an admin listener";
        return Err(incomparable(message, None));
    };
    let cannot = |errors| {
        incomparable(&format!("cannot compare with {against}, which has errors itself"), Some(errors))
    };
    // Anything with `://` counts as a URL, so that the error speaks of a URL. No file has such a name.
    let before = if against.contains("://") {
        let text =
            Client::new(&against).running_config().map_err(|error| incomparable(&error.to_string(), None))?;
        let folder = input.file.parent().unwrap_or(Path::new(""));
        prepare(Purpose::Check, &folder.join("what runs"), Some(text.as_bytes())).map_err(cannot)?
    } else {
        prepare(Purpose::Check, Path::new(&against), None).map_err(cannot)?
    };
    // Only the other configuration can fail here, because the file itself has been checked.
    let changes = before.changes_to(input.file, input.text.as_deref());
    changes.map_err(|errors| incomparable(&format!("it cannot replace {against}"), Some(errors)))
}
