//! A checked configuration, and the file that it was read from.

use super::source::Source;
use crate::config::Config;
use crate::path;

/// A configuration in which the file alone shows no error.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The content of the file, with absolute paths.
    pub(crate) config: Config,
    /// The file, for reporting later errors at their place: [`Source::error`].
    pub(crate) source: Source,
}

impl Loaded {
    /// Returns the name of the route at a position as it is written, with variables instead of their values.
    pub(crate) fn route_name(&self, index: usize) -> String {
        let Some(route) = self.config.routes.get(index) else { return String::new() };
        let (base, name) = (path!["routes", index], route.name());
        let place = [&base[..], &path!["name"]].concat();
        if self.source.has(&place) {
            return self.source.shown(&place, &name);
        }
        // A number follows a name that several routes would have.
        let number = name.strip_prefix(&route.in_short(&|_, value| value)).unwrap_or_default();
        let short = route.in_short(&|keys, value| self.source.shown(&[&base, keys].concat(), &value));
        format!("{short}{number}")
    }

    /// Returns the name of the listener at a position as it is written, with variables instead of their values.
    pub(crate) fn listener_name(&self, index: usize) -> String {
        let Some(listener) = self.config.listeners.get(index) else { return String::new() };
        self.source.shown(&path!["listeners", index, "name"], &listener.name())
    }
}
