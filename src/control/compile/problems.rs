//! Problems of a configuration that only its build shows, as errors at their places in the file.

use crate::config::Segment;
use crate::control::compile::snapshot::Builder;
use crate::filter::proxy_wasm::PluginError;
use crate::net::tls::TlsError;

impl Builder<'_> {
    /// Notes the problems at `path`, which show variables as written; returns `None` if there are any.
    pub(crate) fn check<T, E: std::fmt::Display>(
        &mut self,
        path: &[Segment],
        result: Result<T, Vec<E>>,
    ) -> Option<T> {
        let source = &self.loaded.source;
        let error = |problem: &E| source.error_as_written(path, &problem.to_string());
        result.map_err(|problems| self.errors.extend(problems.iter().map(error))).ok()
    }

    /// As [`Builder::check`], for the endpoints of an upstream. A file that was tried is named in full, even if a variable names
    /// it: an operator has to find it.
    pub(crate) fn check_targets<T>(
        &mut self,
        path: &[Segment],
        result: Result<T, Vec<TlsError>>,
    ) -> Option<T> {
        let source = &self.loaded.source;
        let error = |problem: &TlsError| match problem {
            TlsError::InvalidName { .. } => source.error_as_written(path, &problem.to_string()),
            _ => source.error(path, problem.to_string()),
        };
        result.map_err(|problems| self.errors.extend(problems.iter().map(error))).ok()
    }

    /// Notes why the plugin of a filter cannot be used. `list` is the list that uses it, which may have a configuration for it.
    /// A plugin may say anything that it was given, so that all of its variables are shown as written; a file that cannot be read
    /// is named in full.
    pub(crate) fn plugin_error(&mut self, place: &[Segment], list: &[Segment], problem: &PluginError) {
        let source = &self.loaded.source;
        let filter = place.split_last().map_or(place, |(_, filter)| filter);
        let message = match problem {
            PluginError::Unreadable { .. } => problem.to_string(),
            _ => source.as_written(&[filter, list], &problem.to_string()),
        };
        let mut error = source.error(place, message);
        if let Some(advice) = problem.advice() {
            error = error.help(advice);
        }
        self.errors.push(if problem.is_transient() { error.transient() } else { error });
    }
}
