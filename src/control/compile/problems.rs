//! Problems of a configuration that only its build detects, as errors at their places in the file.

use crate::config::Segment;
use crate::config::load::code::Code;
use crate::control::compile::snapshot::Builder;
use crate::filter::proxy_wasm::PluginError;
use crate::net::tls::TlsError;

impl Builder<'_> {
    /// Adds the problems of an upstream's endpoints, at `path`, to the errors, with variables as written. The name of a
    /// file that was tried is shown in full even if it comes from a variable, because an operator has to find the file.
    /// Returns `None` if there are any.
    pub(crate) fn check_targets<T>(
        &mut self,
        path: &[Segment],
        result: Result<T, Vec<TlsError>>,
    ) -> Option<T> {
        let source = &self.loaded.source;
        let error = |problem: &TlsError| match problem {
            TlsError::InvalidName { .. } => {
                source.error_as_written(code_of(problem), path, &problem.to_string())
            }
            _ => source.error(code_of(problem), path, problem.to_string()),
        };
        result.map_err(|problems| self.errors.extend(problems.iter().map(error))).ok()
    }

    /// Adds the error of a filter's plugin. `list` is the list that uses it, which may hold a configuration for it. A
    /// plugin's message may contain anything that the plugin was given, so all of its variables are shown as written.
    /// The name of an unreadable file is shown in full.
    pub(crate) fn plugin_error(&mut self, place: &[Segment], list: &[Segment], problem: &PluginError) {
        let source = &self.loaded.source;
        let filter = place.split_last().map_or(place, |(_, filter)| filter);
        let message = match problem {
            PluginError::Unreadable { .. } => problem.to_string(),
            _ => source.as_written(&[filter, list], &problem.to_string()),
        };
        let code = match problem {
            PluginError::Unreadable { .. } => Code::FileUnreadable,
            PluginError::TooLarge { .. } => Code::TooLarge,
            _ => Code::FilterFailed,
        };
        let mut error = source.error(code, place, message);
        if let Some(advice) = problem.advice() {
            error = error.help(advice);
        }
        self.errors.push(if problem.is_transient() { error.transient() } else { error });
    }
}

/// Returns the code of a problem with TLS.
pub(super) fn code_of(problem: &TlsError) -> Code {
    match problem {
        TlsError::Unreadable { .. } => Code::FileUnreadable,
        TlsError::InvalidName { .. } => Code::InvalidValue,
        TlsError::NoIdentity => Code::MissingKey,
        TlsError::Setup(_) => Code::System,
        _ => Code::FileInvalid,
    }
}
