//! `rewrite`, `rewrite_location` and `rewrite_cookies` of a route: changes to the path of a request, and to locations and
//! cookies in its response.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::path::RoutePath;
use crate::config::values::rewrite_template::RewriteTemplate;

/// The path of the forwarded request: `path`, `template`, or `strip_prefix` and `add_prefix`, alone or together. The
/// query stays. The path in the URL of an endpoint precedes the result.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "anyOf" = [
        { "required": ["path"] }, { "required": ["strip_prefix"] }, { "required": ["add_prefix"] },
        { "required": ["template"] }
    ],
    "allOf" = [
        { "not": { "required": ["path", "strip_prefix"] } },
        { "not": { "required": ["path", "template"] } },
        { "not": { "required": ["strip_prefix", "template"] } },
        { "not": { "required": ["path", "add_prefix"] }, "$comment": "write the whole path under `path`, prefix included" },
        { "not": { "required": ["template", "add_prefix"] }, "$comment": "begin `template` with the prefix" }
    ]
))]
pub(crate) struct Rewrite {
    /// A fixed path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<RoutePath>,
    /// The beginning to remove from the path; `/` if nothing is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strip_prefix: Option<RoutePath>,
    /// The beginning to put before the path. With `strip_prefix` it replaces the removed one: `/api` and `/api/x`
    /// become `/v2` and `/v2/x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_prefix: Option<RoutePath>,
    /// A path with parameters of the route's `match.template`, `/v2/users/{id}`, and other values of the request as whole segments:
    /// `{query.NAME}`, `{header.NAME}`, `{identity.CLAIM}`, `{client_ip}`, `{host}`, `{request_id}`. A request that lacks one gets 400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<RewriteTemplate>,
}

/// The form of a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteForm<'a> {
    /// A fixed path.
    Path(&'a RoutePath),
    /// The path with one beginning removed and another one added.
    Prefix {
        /// The beginning to remove.
        strip: Option<&'a RoutePath>,
        /// The beginning to put before the rest.
        add: Option<&'a RoutePath>,
    },
    /// A path with values of the request.
    Template(&'a RewriteTemplate),
}

impl Rewrite {
    /// Returns the form that is written. A validated configuration has one.
    pub(crate) fn form(&self) -> Option<RewriteForm<'_>> {
        let path = self.path.as_ref().map(RewriteForm::Path);
        let template = self.template.as_ref().map(RewriteForm::Template);
        let (strip, add) = (self.strip_prefix.as_ref(), self.add_prefix.as_ref());
        let has_prefix = strip.is_some() || add.is_some();
        path.or(template).or(has_prefix.then_some(RewriteForm::Prefix { strip, add }))
    }
}

/// The treatment of `Location` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewriteLocation {
    /// A location that names the upstream's own scheme, host and port, or a path below its base path and `add_prefix`,
    /// becomes the client's URL for the same resource. With `host: preserve`, one that names the client's host keeps
    /// scheme and host, and only its path changes. Locations of other sites and relative ones stay.
    #[default]
    Auto,
    /// It stays as it is.
    Off,
}

/// The treatment of `Set-Cookie` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewriteCookies {
    /// A `Domain` that is the upstream's and not the client's is removed, which limits the cookie to the host that the
    /// client requested. A `Path` below the base path and `add_prefix` becomes the client's path.
    Auto,
    /// They stay as they are.
    #[default]
    Off,
}
