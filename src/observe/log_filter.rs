//! The filter of the program's messages, which can be set while it runs.

use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::reload;

/// The functions that read and set the filter of the process; the type of the subscriber behind them does not matter here.
struct Handle {
    current: Box<dyn Fn() -> Option<Targets> + Send + Sync>,
    set: Box<dyn Fn(Targets) -> bool + Send + Sync>,
}

static HANDLE: OnceLock<Handle> = OnceLock::new();

/// The reason why the filter was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSet {
    /// The text is no filter.
    #[error("`{0}` is not a filter; write a level, or levels of modules: gateway::upstream=debug")]
    Malformed(String),
    /// This program did not start its log by [`settable`].
    #[error("the log of this program has no level that can be set")]
    Fixed,
}

/// Returns a filter that [`set`] replaces. A process has one.
pub(crate) fn settable<S: Subscriber>(filter: Targets) -> reload::Layer<Targets, S> {
    let (layer, handle) = reload::Layer::new(filter);
    let read = handle.clone();
    let functions = Handle {
        current: Box::new(move || read.clone_current()),
        set: Box::new(move |filter| handle.reload(filter).is_ok()),
    };
    // A second log of one process could not be started either.
    drop(HANDLE.set(functions));
    layer
}

/// Parses a filter: a level, or levels by module. A level without a module is the gateway's alone. Libraries log nothing unless they are
/// named: their messages concern their own internals, and a compiler at `debug` writes a thousand lines a second.
///
/// # Errors
/// The text is no filter.
pub(crate) fn parse(text: &str) -> Result<Targets, ParseError> {
    let directives = text.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let directives = directives.map(|directive| match directive.parse::<LevelFilter>() {
        Ok(level) => format!("gateway={level}"),
        Err(_) => directive.to_owned(),
    });
    directives.collect::<Vec<_>>().join(",").parse()
}

/// Returns the filter, in the form that [`parse`] reads; `off` if there is none.
pub(crate) fn current() -> String {
    let filter = HANDLE.get().and_then(|handle| (handle.current)());
    filter
        .map(|filter| filter.to_string())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "off".to_owned())
}

/// Sets the filter, for messages from now on.
///
/// # Errors
/// The text is no filter, or the log was not started by [`settable`].
pub(crate) fn set(text: &str) -> Result<(), NotSet> {
    let malformed = || NotSet::Malformed(text.to_owned());
    let filter = parse(text).map_err(|_| malformed())?;
    if filter.iter().next().is_none() {
        return Err(malformed());
    }
    let handle = HANDLE.get().ok_or(NotSet::Fixed)?;
    if (handle.set)(filter) { Ok(()) } else { Err(NotSet::Fixed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_without_a_target_are_those_of_the_gateway() {
        for (written, expected) in [
            ("debug", "gateway=debug"),
            ("WARN", "gateway=warn"),
            ("info, hyper=trace,", "hyper=trace,gateway=info"),
            ("hyper=debug,off", "gateway=off,hyper=debug"),
        ] {
            let mut found: Vec<String> =
                parse(written).unwrap().to_string().split(',').map(str::to_owned).collect();
            let mut expected: Vec<String> = expected.split(',').map(str::to_owned).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{written}");
        }
        assert!(parse("gateway=loud").is_err());
    }

    #[test]
    fn log_that_was_not_started_cannot_be_set() {
        assert!(matches!(set("debug"), Err(NotSet::Fixed)));
        assert!(matches!(set(" , "), Err(NotSet::Malformed(_))));
        assert!(matches!(set("gateway=loud"), Err(NotSet::Malformed(_))));
    }
}
