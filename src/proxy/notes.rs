//! The notes that the policies of a route make about a request.

use std::sync::Arc;

use http::{HeaderValue, header};

use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::policy::{Identity, Permit, Refusal, Sharing, X_REQUEST_ID};
use crate::snapshot::stage::ResolvedEdits;

/// The findings of a route's policies about a request, and their additions to its response, whichever that is. A request of a
/// route without such policies has none.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) request_id: Option<HeaderValue>,
    /// The callers that authentication knows; the first one is the caller.
    pub(crate) identities: Vec<Arc<Identity>>,
    /// The pages that may read the response.
    pub(crate) sharing: Option<Sharing>,
    /// Fields of the response: of a refusal, or about limits. They take the place of those that it has under the same names.
    pub(crate) response: Fields,
    /// The header edits that take in values of the request, once they have.
    pub(crate) edits: ResolvedEdits,
    /// The request's place under `concurrent`, until the end of the exchange.
    pub(crate) permit: Option<Permit>,
}

impl Notes {
    /// Returns the caller, if it is known.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identities.first()
    }

    /// Notes the fields of a refusal. Returns its error.
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> Error {
        self.response.extend(refusal.fields);
        refusal.error
    }

    /// Applies the last policies to the head of a response. It may be an error of the gateway: a browser could not read a 401 otherwise.
    pub(crate) fn finish(&self, headers: &mut Fields) {
        // Several cookies are no contradiction.
        headers.retain(|name, _| name == header::SET_COOKIE || !self.response.contains_key(name));
        headers.extend(self.response.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let Some(sharing) = &self.sharing {
            sharing.finish(headers);
        }
        if let Some(id) = &self.request_id {
            headers.insert(X_REQUEST_ID, id.clone());
        }
    }
}
