//! Checks of values that depend on each other: names without a meaning, settings without an effect.

mod access_log;
mod addresses;
mod filter;
mod forward_auth;
mod listener;
mod placeholders;
mod policies;
mod route;
mod split;
mod stores;
mod traces;
mod upstream;

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::RangeInclusive;

use super::error::ConfigError;
use super::salvage::Kept;
use super::similar::Similar;
use super::source::Source;
use crate::config::load::code::Code;
use crate::config::values::look_alike;
use crate::config::values::segment::Segment;
use crate::config::{ByteSize, Config, Pool};
use crate::path;

/// Checks the parts of a file that were kept.
pub(crate) fn validate(config: &Config, kept: &Kept, source: &Source) -> Vec<ConfigError> {
    let mut findings = Findings { source, similar: Similar::default(), errors: Vec::new() };
    listener::validate(config, kept, &mut findings);
    addresses::validate(config, kept, &mut findings);
    upstream::validate(config, kept, &mut findings);
    filter::validate(config, kept, &mut findings);
    route::validate(config, kept, &mut findings);
    policies::validate(config, kept, &mut findings);
    stores::validate(config, kept, &mut findings);
    access_log::validate(config, &mut findings);
    traces::validate(config, &mut findings);
    if let Some(pool) = &config.defaults.pool {
        validate_pool(pool, &path!["defaults", "pool"], &mut findings);
    }
    route::validate_headers(&config.defaults.headers, &path!["defaults", "headers"], &mut findings);
    findings.errors
}

/// The errors found so far.
struct Findings<'a> {
    source: &'a Source,
    similar: Similar,
    errors: Vec<ConfigError>,
}

impl Findings<'_> {
    /// Adds an error about the value at `base` and `keys` below it. Message and help show variables of that value as written.
    fn add(
        &mut self,
        code: Code,
        base: &[Segment],
        keys: &[Segment],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = [base, keys].concat();
        let help = self.source.as_written(&[&path], &help.into());
        self.errors.push(self.source.error_as_written(code, &path, &message.into()).help(help));
    }

    /// Returns the line of a value, for messages that point at a second place.
    fn line(&self, base: &[Segment], keys: &[Segment]) -> usize {
        self.source.line(&[base, keys].concat())
    }

    /// Returns what an error may show for a value: the value, or the written text if it has variables.
    fn shown(&self, base: &[Segment], keys: &[Segment], value: &dyn std::fmt::Display) -> String {
        self.source.shown(&[base, keys].concat(), &value.to_string())
    }

    /// Returns the advice for an unknown name. `shown` is the name as errors may show it.
    fn advise_name<'n>(
        &self,
        name: &str,
        shown: &str,
        known: impl Iterator<Item = &'n str>,
        section: &str,
    ) -> String {
        if let Some(found) = look_alike::find(name).filter(|_| name == shown) {
            return found.advice();
        }
        // A name similar to the value of a variable would reveal most of it.
        match self.similar.find(name, known).filter(|_| name == shown) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => format!("add it to `{section}`"),
        }
    }
}

/// Returns the first index with this key, if it is not `index`.
fn first_with<K: Eq + Hash>(firsts: &mut HashMap<K, usize>, key: K, index: usize) -> Option<usize> {
    let first = *firsts.entry(key).or_insert(index);
    (first != index).then_some(first)
}

/// Checks that a pool's own keys do not contradict each other. Keys of different layers may: a route that lowers
/// `max_connections` does not have to know the inherited `max_idle`.
fn validate_pool(pool: &Pool, base: &[Segment], findings: &mut Findings<'_>) {
    if let (Some(max_idle), Some(max_connections)) = (pool.max_idle, pool.max_connections)
        && max_idle > max_connections.get()
    {
        let max_connections = findings.shown(base, &path!["max_connections"], &max_connections);
        let message = format!("`max_idle` is more than `max_connections`, which is {max_connections}");
        findings.add(
            Code::Contradiction,
            base,
            &path!["max_idle"],
            message,
            "idle connections count among all connections",
        );
    }
    if let (Some(min_idle), Some(max_idle)) = (pool.min_idle, pool.max_idle)
        && min_idle > max_idle
    {
        let max_idle = findings.shown(base, &path!["max_idle"], &max_idle);
        let message = format!("`min_idle` is more than `max_idle`, which is {max_idle}");
        findings.add(
            Code::Contradiction,
            base,
            &path!["min_idle"],
            message,
            "lower the one or raise the other",
        );
    }
    if pool.keep_alive == Some(false) && pool.min_idle.is_some_and(|min_idle| min_idle > 0) {
        let message = "`min_idle` keeps connections, which `keep_alive: false` forbids";
        findings.add(Code::Contradiction, base, &path!["min_idle"], message, "take one of them out");
    }
}

/// Checks the bounds of the size `key` in `base`. Returns true if it is within them.
fn validate_size(
    size: ByteSize,
    bounds: RangeInclusive<ByteSize>,
    key: &str,
    help: &str,
    base: &[Segment],
    findings: &mut Findings<'_>,
) -> bool {
    let (side, bound) = match &size {
        size if size < bounds.start() => ("at least", bounds.start()),
        size if size > bounds.end() => ("at most", bounds.end()),
        _ => return true,
    };
    findings.add(Code::InvalidValue, base, &path![key], format!("`{key}` must be {side} {bound}"), help);
    false
}
