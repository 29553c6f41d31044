//! `match` of a route: the conditions on requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::header::{HeaderMatch, HeaderName, QueryMatch};
use crate::config::values::host::HostPattern;
use crate::config::values::method::Method;
use crate::config::values::path::{PathTemplate, RoutePath};
use crate::config::values::segment::Segment;
use crate::path;

/// A rule for requests, all of whose conditions must hold. At most one of `path`, `prefix` and `template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("allOf" = [
    { "not": { "required": ["path", "prefix"] } },
    { "not": { "required": ["path", "template"] } },
    { "not": { "required": ["prefix", "template"] } }
]))]
pub(crate) struct Match {
    /// Exactly this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<RoutePath>,
    /// This path and all below it, at segment borders: `/api` matches `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<RoutePath>,
    /// Paths of this form; `{id}` is any one segment: `/users/{id}/orders/{order}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<PathTemplate>,
    /// This host, or with `*.example.com` every name below it. Case and port do not matter. Default: any
    /// host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostPattern>,
    /// One of these methods. Default: any method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) methods: Option<Vec<Method>>,
    /// These headers: each name with its required value, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) headers: BTreeMap<HeaderName, HeaderMatch>,
    /// These query parameters: each name with its required value, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "minLength": 1 }))]
    pub(crate) query: BTreeMap<String, QueryMatch>,
}

/// The path of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathMatch<'a> {
    /// Any path.
    Any,
    /// Exactly this path.
    Exact(&'a RoutePath),
    /// This path and all below it.
    Prefix(&'a RoutePath),
    /// Paths of this form.
    Template(&'a PathTemplate),
}

impl Match {
    /// Returns the condition on the path.
    pub(crate) fn path_match(&self) -> PathMatch<'_> {
        match (&self.path, &self.prefix, &self.template) {
            (Some(path), ..) => PathMatch::Exact(path),
            (_, Some(prefix), _) => PathMatch::Prefix(prefix),
            (.., Some(template)) => PathMatch::Template(template),
            (None, None, None) => PathMatch::Any,
        }
    }

    /// Returns methods, host and path, where a prefix ends in `/*`, and the names of query parameters and headers. It
    /// leaves out their values, which may be secret.
    pub(super) fn in_short(&self, shown: &dyn Fn(&[Segment], String) -> String) -> String {
        let methods = self.methods.iter().flatten().enumerate();
        let methods: Vec<String> = methods
            .map(|(index, method)| shown(&path!["match", "methods", index], method.to_string()))
            .collect();
        let shown = |key: &str, value: String| shown(&path!["match", key], value);
        let mut short = methods.join(",");
        if !methods.is_empty() {
            short.push(' ');
        }
        short.extend(self.host.as_ref().map(|host| shown("host", host.to_string())));
        match self.path_match() {
            PathMatch::Any => short.push_str("/*"),
            PathMatch::Exact(path) => short.push_str(&shown("path", path.to_string())),
            PathMatch::Prefix(prefix) => {
                short.extend([shown("prefix", prefix.to_string()).trim_end_matches('/'), "/*"]);
            }
            PathMatch::Template(template) => short.push_str(&shown("template", template.to_string())),
        }
        self.query.keys().for_each(|name| short.extend([" ?", name]));
        self.headers.keys().for_each(|name| short.extend([" ", &name.to_string(), ":"]));
        short
    }
}
