//! Checks of the placeholders of a route: a request can have their values.

use std::collections::HashSet;

use super::Findings;
use crate::config::load::code::Code;
use crate::config::values::segment::Segment;
use crate::config::{Config, HeaderEdits, HeaderTemplate, Placeholder, Route};
use crate::path;

/// Reports placeholders that no request of the route has a value for. Those in `defaults` are for some routes and not for others.
pub(super) fn validate(
    config: &Config,
    route: &Route,
    defaults_broken: bool,
    base: &[Segment],
    findings: &mut Findings<'_>,
) {
    let template = route.rewrite.as_ref().and_then(|rewrite| rewrite.template.as_ref());
    let of_path = template.iter().flat_map(|template| template.placeholders());
    let to = route.redirect.as_ref().and_then(|redirect| redirect.to.as_ref());
    let of_target = to.iter().flat_map(|to| to.placeholders());
    let mut used: Vec<(Vec<Segment>, &Placeholder)> = Vec::new();
    used.extend(of_path.map(|placeholder| (path!["rewrite", "template"].to_vec(), placeholder)));
    used.extend(of_target.map(|placeholder| (path!["redirect", "to"].to_vec(), placeholder)));
    for (side, edits) in [("request", &route.headers.request), ("response", &route.headers.response)] {
        used.extend(of_edits(side, edits));
    }
    for (keys, placeholder) in used {
        match placeholder {
            Placeholder::Path(name) => check_parameter(route, name, base, &keys, findings),
            _ if defaults_broken => {}
            Placeholder::Identity(_) if config.settings_of(route).auth.is_none() => {
                let message = format!("`{placeholder}` has no value on a route without `auth`");
                findings.add(
                    Code::NoEffect,
                    base,
                    &keys,
                    message,
                    "write the ways to know a caller under `auth`",
                );
            }
            Placeholder::RequestId if lacks_request_id(config, route) => {
                let message = format!("`{placeholder}` has no value on a route without `request_id`");
                findings.add(Code::NoEffect, base, &keys, message, "write `request_id: on`");
            }
            _ => {}
        }
    }
}

/// Returns the placeholders of header edits, with the paths to their values.
fn of_edits<'e>(
    side: &'e str,
    edits: &'e HeaderEdits,
) -> impl Iterator<Item = (Vec<Segment>, &'e Placeholder)> {
    let sections = [("set", &edits.set), ("add", &edits.add)].into_iter();
    let values = sections.flat_map(|(section, fields)| {
        fields.iter().flat_map(move |(name, values)| values.iter().map(move |value| (section, name, value)))
    });
    values.flat_map(move |(section, name, value)| {
        let keys = path!["headers", side, section, name.to_string().as_str()];
        HeaderTemplate::placeholders(value).map(move |placeholder| (keys.to_vec(), placeholder))
    })
}

/// Returns true if requests of the route have no id, and the path has none of this name.
fn lacks_request_id(config: &Config, route: &Route) -> bool {
    let mut parameters = route.matches.template.iter().flat_map(|template| template.parameters());
    !config.settings_of(route).request_id && !parameters.any(|name| name == "request_id")
}

/// Reports a parameter that the template of the match does not have.
fn check_parameter(
    route: &Route,
    name: &str,
    base: &[Segment],
    keys: &[Segment],
    findings: &mut Findings<'_>,
) {
    let known: HashSet<&str> =
        route.matches.template.iter().flat_map(|template| template.parameters()).collect();
    if known.contains(name) {
        return;
    }
    let message = format!("the match has no parameter `{{{name}}}`");
    // A name similar to the value of a variable would reveal most of it.
    let is_shown = findings.shown(base, keys, &name) == name;
    let help = match findings.similar.find(name, known.iter().copied()).filter(|_| is_shown) {
        Some(similar) => {
            let help = format!("did you mean `{{{similar}}}`?");
            let place = [base, &path!["match", "template"]].concat();
            findings.source.as_written(&[&place], &help)
        }
        None => "it takes parameters of `match.template`".to_owned(),
    };
    findings.add(Code::UnknownName, base, keys, message, help);
}
