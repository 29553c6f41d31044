//! Checks of filters: valid names, and bounds that no type knows.

use std::collections::HashSet;

use super::{Findings, validate_size};
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{Config, Filter, FilterLimits, FilterUse};
use crate::path;

/// The longest name, which is a part of `x-gateway-error` and of metrics.
const NAME_LENGTH_MAX: usize = 64;

/// Checks the filters, named and inline, and the lists of them.
pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let names: Vec<String> = findings.source.keys(&path!["filters"]).map(str::to_owned).collect();
    check_names(names.iter().map(String::as_str), "filters", "filter name", findings);
    for (name, filter) in &config.filters {
        validate_filter(filter, &path!["filters", name], findings);
    }
    // The names come from the file, so that a filter with other errors is not reported as unknown too.
    let known: HashSet<&str> = names.iter().map(String::as_str).collect();
    let of_defaults = (path!["defaults", "filters"].to_vec(), &config.defaults.filters);
    let of_routes = kept.routes.iter().zip(&config.routes);
    let of_routes =
        of_routes.map(|(&index, route)| (path!["routes", index, "filters"].to_vec(), &route.filters));
    for (list, filters) in of_routes.chain([of_defaults]) {
        for (position, one) in filters.iter().flatten().enumerate() {
            validate_use(one, &known, &[&list[..], &path![position]].concat(), findings);
        }
    }
}

fn validate_use(one: &FilterUse, known: &HashSet<&str>, base: &[Segment], findings: &mut Findings<'_>) {
    let (name, keys) = match one {
        FilterUse::Named(name) => (name, &[][..]),
        FilterUse::Use { filter, .. } => (filter, &path!["use"][..]),
        FilterUse::Inline(filter) => {
            validate_stem(filter, base, findings);
            return validate_filter(filter, base, findings);
        }
    };
    if !known.contains(name.as_str()) {
        let shown = findings.shown(base, keys, &name);
        let help = if name.ends_with(".wasm") {
            format!("write `{{ wasm: {shown} }}`")
        } else {
            findings.advise_name(name, &shown, known.iter().copied(), "filters")
        };
        findings.add(Code::UnknownName, base, keys, format!("unknown filter `{shown}`"), help);
    }
}

/// Checks the name that a filter takes from its file.
fn validate_stem(filter: &Filter, base: &[Segment], findings: &mut Findings<'_>) {
    let stem = filter.stem();
    if !is_name(&stem) {
        let message = format!("`{stem}`, the name of the file, is not a valid filter name");
        let help =
            "give it a name under `filters`, or the file one of at most 64 letters, digits, `-`, `_` and `.`";
        findings.add(Code::InvalidValue, base, &path!["wasm"], message, help);
    }
}

/// Reports the keys of a section that are no names.
pub(super) fn check_names<'n>(
    names: impl Iterator<Item = &'n str>,
    section: &str,
    noun: &str,
    findings: &mut Findings<'_>,
) {
    for name in names.filter(|name| !is_name(name)) {
        let message = format!("`{name}` is not a valid {noun}");
        let help = "write at most 64 letters, digits, `-`, `_` and `.`";
        findings.add(Code::InvalidValue, &path![section, name], &[], message, help);
    }
}

fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name.bytes().all(is_good)
}

fn validate_filter(filter: &Filter, base: &[Segment], findings: &mut Findings<'_>) {
    let memory = FilterLimits::MEMORY_MIN..=FilterLimits::MEMORY_MAX;
    let help = "a page has 64KiB, and 32 bits address 4GiB";
    let limits = [base, &path!["limits"]].concat();
    validate_size(filter.limits.memory, memory, "memory", help, &limits, findings);
    for (name, value) in &filter.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("`{}` is not the name of an environment variable", name.escape_debug());
            findings.add(Code::InvalidValue, base, &path!["env", name], message, "write a name without `=`");
        }
        if value.contains('\0') {
            let message = format!("`{name}` has a zero byte");
            findings.add(
                Code::InvalidValue,
                base,
                &path!["env", name],
                message,
                "an environment variable ends with it",
            );
        }
    }
}
