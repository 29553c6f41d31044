//! Checks of stores, and of the limits that use them.

use std::collections::HashSet;

use super::Findings;
use super::filter::check_names;
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::config::{Config, OrOff, RateLimits, Store};
use crate::path;

pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let names: Vec<String> = findings.source.keys(&path!["stores"]).map(str::to_owned).collect();
    check_names(names.iter().map(String::as_str), "stores", "name of a store", findings);
    for (name, store) in &config.stores {
        validate_store(store, &path!["stores", name], findings);
    }
    // The names come from the file, so that a store with other errors is not reported as unknown too.
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    if let Some(OrOff::On(limits)) = &config.defaults.rate_limit {
        validate_use(limits, &path!["defaults", "rate_limit"], &names, findings);
    }
    for (&index, route) in kept.routes.iter().zip(&config.routes) {
        if let Some(OrOff::On(limits)) = &route.rate_limit {
            validate_use(limits, &path!["routes", index, "rate_limit"], &names, findings);
        }
    }
}

fn validate_store(store: &Store, base: &[Segment], findings: &mut Findings<'_>) {
    let has_variables = findings.source.with_variables(&[base, &path!["url"]].concat()).is_some();
    if store.url.password.is_some() && !has_variables {
        let help = "take it from a variable: `redis://USER:${PASSWORD}@HOST`";
        findings.add(Code::PlainSecret, base, &path!["url"], "the password cannot be written out", help);
    }
    if !store.url.has_tls {
        let help = "take it out, or write a `rediss` URL";
        for (key, is_set) in [("ca", store.tls.ca.is_some()), ("client", store.tls.client.is_some())] {
            if is_set {
                let message = format!("`{key}` has no effect without a `rediss` URL");
                findings.add(Code::NoEffect, base, &path!["tls", key], message, help);
            }
        }
    }
    if store.timeout > Store::TIMEOUT_MAX {
        let message = format!("`timeout` must be at most {}", Store::TIMEOUT_MAX);
        findings.add(
            Code::InvalidValue,
            base,
            &path!["timeout"],
            message,
            "a request waits for it when the store stops to respond",
        );
    }
}

fn validate_use(limits: &RateLimits, base: &[Segment], names: &HashSet<&str>, findings: &mut Findings<'_>) {
    for (index, limit) in limits.as_slice().iter().enumerate() {
        let place = |key: &'static str| match limits {
            RateLimits::One(_) => path![key].to_vec(),
            RateLimits::Several(_) => path![index, key].to_vec(),
        };
        match &limit.store {
            Some(name) if !names.contains(name.as_str()) => {
                let shown = findings.shown(base, &place("store"), name);
                let help = findings.advise_name(name, &shown, names.iter().copied(), "stores");
                findings.add(
                    Code::UnknownName,
                    base,
                    &place("store"),
                    format!("unknown store `{shown}`"),
                    help,
                );
            }
            None if limit.on_error.is_some() => {
                let message = "`on_error` has no effect without `store`";
                findings.add(
                    Code::NoEffect,
                    base,
                    &place("on_error"),
                    message,
                    "name the store that the limit is shared in",
                );
            }
            _ => {}
        }
    }
}
