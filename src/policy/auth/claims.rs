//! Claims about a caller, as fields of its request.

use http::{HeaderName, HeaderValue};

use crate::config;
use crate::http::fields::Fields;
use crate::http::forward::is_spelling_of;
use crate::policy::identity::Identity;

/// The fields that tell an upstream who calls. Those of clients are removed, in any spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClaimsToHeaders(Box<[(String, HeaderName)]>);

impl ClaimsToHeaders {
    pub(crate) fn new(written: &config::ClaimsToHeaders) -> Self {
        let fields = written.iter().map(|(claim, name)| (claim.clone(), name.as_http().clone()));
        Self(fields.collect())
    }

    /// Removes the fields, which only the gateway may write.
    pub(crate) fn remove(&self, headers: &mut Fields) {
        for (_, field) in &self.0 {
            headers.retain(|name, _| name != field && !is_spelling_of(name, field));
        }
    }

    /// Sets the fields to the claims of a caller. There is none for a claim that the caller does not have, or whose text is no value of a
    /// field.
    pub(crate) fn set(&self, identity: &Identity, headers: &mut Fields) {
        for (claim, field) in &self.0 {
            let value = identity.text(claim).and_then(|text| HeaderValue::from_str(&text).ok());
            headers.extend(value.map(|value| (field.clone(), value)));
        }
    }
}
