//! `api_key`: keys that callers send.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClaimsToHeaders;
use crate::config::values::cookie_name::CookieName;
use crate::config::values::header::HeaderName;
use crate::config::values::parameter_name::ParameterName;
use crate::config::values::token_place::TokenPlace;

/// Callers known by a key. The key is removed from the request before it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["header"] }, { "required": ["query"] }, { "required": ["cookie"] }]))]
pub(crate) struct ApiKey {
    /// The field that has the key, such as `x-api-key`. Of `authorization`, the key is what follows the scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<HeaderName>,
    /// The parameter of the query that has the key. Queries end up in logs of other programs: prefer a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<ParameterName>,
    /// The cookie that has the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<CookieName>,
    /// The file of the keys, relative to the folder of the configuration file: a YAML list of entries with `id`, the `key` as
    /// `gateway hash-key` prints it, and `metadata` as it pleases. Changes take effect without a reload of anything else.
    pub(crate) keys: PathBuf,
    /// Metadata of the key by its name (`sub` for the key's `id`), with the request's field that gets its value. These fields of
    /// clients are removed.
    #[serde(default, skip_serializing_if = "ClaimsToHeaders::is_empty")]
    pub(crate) claims_to_headers: ClaimsToHeaders,
}

impl ApiKey {
    /// Returns the part of a request that has the key; `None` unless exactly one is written.
    pub(crate) fn place(&self) -> Option<TokenPlace> {
        match (&self.header, &self.query, &self.cookie) {
            (Some(header), None, None) => Some(TokenPlace::Header(header.clone())),
            (None, Some(query), None) => Some(TokenPlace::Query(query.clone())),
            (None, None, Some(cookie)) => Some(TokenPlace::Cookie(cookie.clone())),
            _ => None,
        }
    }
}
