//! `headers` of a route: changes to the fields of requests and responses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::header::{HeaderName, HeaderValues};
use crate::config::values::header_template::HeaderTemplate;

/// Changes to headers. A route's changes are applied on top of those of `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Headers {
    /// Changes to the request, before it is forwarded.
    pub(crate) request: HeaderEdits,
    /// Changes to the response, before it is sent back.
    pub(crate) response: HeaderEdits,
}

/// Changes to one message's header. First `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Fields to set to this value and no other, or to a list of values: `set-cookie: [a=1, b=2]` makes two lines. A value may have
    /// placeholders: `{path.NAME}`, `{query.NAME}`, `{header.NAME}`, `{identity.CLAIM}`, `{client_ip}`, `{host}`, `{request_id}`. If the
    /// request lacks one of them, the field is removed. `{{` is a brace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) set: BTreeMap<HeaderName, HeaderValues<HeaderTemplate>>,
    /// Fields to add to existing ones, each with a value or a list of values. A value may have placeholders; it is not added if the
    /// request lacks one of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) add: BTreeMap<HeaderName, HeaderValues<HeaderTemplate>>,
    /// Fields to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// Returns these edits on top of `lower`: for the same name, these win.
    pub(crate) fn over(&self, lower: &Self) -> Self {
        let mut edits = lower.clone();
        edits.remove.retain(|name| !self.set.contains_key(name) && !self.add.contains_key(name));
        edits.set.retain(|name, _| !self.remove.contains(name));
        edits.add.retain(|name, _| !self.remove.contains(name) && !self.set.contains_key(name));
        edits.remove.extend(self.remove.iter().filter(|name| !lower.remove.contains(name)).cloned());
        edits.set.extend(self.set.clone());
        edits.add.extend(self.add.clone());
        edits
    }
}
