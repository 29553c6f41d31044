//! The stages around a route's action, and their order.

use std::sync::Arc;

use crate::filter::Chain;
use crate::http::fields::Fields;
#[cfg(test)]
use crate::policy::Probe;
use crate::policy::auth::Auth;
use crate::policy::{Addresses, Concurrent, Cors, GrpcWeb, Headers, RateLimits, RequestId, RequestValues};

/// A behaviour around a route's action. Each variant has its own file in `policy/` or, for filters, its own room; its effect on
/// an exchange is in `proxy/stages.rs`.
pub(crate) enum Stage {
    RequestId(RequestId),
    Addresses(Addresses),
    Cors(Cors),
    Auth(Auth),
    RateLimits(RateLimits),
    Concurrent(Concurrent),
    Filters(Chain),
    GrpcWeb(GrpcWeb),
    Headers(Headers),
    #[cfg(test)]
    Probe(Probe),
}

/// The members of an order of stages, each as a predicate.
type Order = &'static [fn(&Stage) -> bool];

/// The stages that admit a request, in order: before its body is limited, and before filters see it. ARCHITECTURE.md, "Stages", has the
/// places of those to come.
const ADMISSION: Order = &[
    |stage| matches!(stage, Stage::RequestId(_)),
    |stage| matches!(stage, Stage::Addresses(_)),
    |stage| matches!(stage, Stage::Cors(_)),
    |stage| matches!(stage, Stage::Auth(_)),
    |stage| matches!(stage, Stage::RateLimits(_)),
    |stage| matches!(stage, Stage::Concurrent(_)),
    #[cfg(test)]
    |stage| matches!(stage, Stage::Probe(_)),
];

/// The stages of an admitted request, in order.
const ENTRY: Order = &[
    // Filters see gRPC.
    |stage| matches!(stage, Stage::GrpcWeb(_)),
    |stage| matches!(stage, Stage::Filters(_)),
];

/// The stages of a request on its way to an upstream, once it has the fields that the gateway adds, `Via` the last of them.
const OUTGOING: Order = &[|stage| matches!(stage, Stage::Headers(headers) if !headers.request.is_empty())];

/// The stages of a response, in order.
const RESPONSE: Order = &[
    |stage| matches!(stage, Stage::Filters(_)),
    |stage| matches!(stage, Stage::GrpcWeb(_)),
    |stage| matches!(stage, Stage::Headers(headers) if !headers.response.is_empty()),
    #[cfg(test)]
    |stage| matches!(stage, Stage::Probe(_)),
];

/// The stages of a route in the orders in which they act. The orders are fixed; a configuration decides which stages a route
/// has. A route without any pays for empty slices.
#[derive(Default)]
pub(crate) struct Stages {
    /// On the request, before the limit of its body. A route that a filter chooses must have no other, because its own do not run any
    /// more.
    pub(crate) admission: Box<[Arc<Stage>]>,
    /// On the admitted request, up to its filters. The same holds for a route that a filter chooses.
    pub(crate) entry: Box<[Arc<Stage>]>,
    /// On the fields of the request that is sent to an upstream.
    outgoing: Box<[Arc<Stage>]>,
    /// On the response.
    pub(crate) response: Box<[Arc<Stage>]>,
    /// The header edits, if they take in values of the request.
    with_placeholders: Option<Arc<Stage>>,
}

/// Header edits with the values of a request. Most routes' edits need none.
#[derive(Default)]
pub(crate) struct ResolvedEdits(Vec<(Arc<Stage>, Headers)>);

impl ResolvedEdits {
    /// Those of a request whose routes need none.
    pub(crate) const NONE: &Self = &Self(Vec::new());

    /// Adds the edits of a route, unless they are there: later, the request has other values.
    pub(crate) fn add(&mut self, stages: &Stages, values: &dyn RequestValues) {
        let Some(stage) = &stages.with_placeholders else { return };
        let is_added = self.0.iter().any(|(added, _)| Arc::ptr_eq(added, stage));
        if let (false, Stage::Headers(headers)) = (is_added, &**stage) {
            self.0.push((stage.clone(), headers.resolved(values)));
        }
    }

    /// Returns the edits of a stage.
    fn of<'e>(&'e self, stage: &Stage, written: &'e Headers) -> &'e Headers {
        let resolved = self.0.iter().find(|(resolved, _)| std::ptr::eq(&raw const **resolved, stage));
        resolved.map_or(written, |(_, headers)| headers)
    }
}

impl Stages {
    /// Sorts the stages of a route into their orders.
    pub(crate) fn new(stages: impl IntoIterator<Item = Stage>) -> Self {
        let stages: Vec<Arc<Stage>> = stages.into_iter().map(Arc::new).collect();
        let sorted = |order: Order| {
            let members = order.iter().flat_map(|is| stages.iter().filter(|stage| is(stage)));
            members.cloned().collect()
        };
        Self {
            admission: sorted(ADMISSION),
            entry: sorted(ENTRY),
            outgoing: sorted(OUTGOING),
            response: sorted(RESPONSE),
            with_placeholders: stages.iter().find(|stage| stage.has_placeholders()).cloned(),
        }
    }

    /// Returns the filters of the route, if it has any.
    pub(crate) fn filters(&self) -> Option<&Chain> {
        self.entry.iter().find_map(|stage| match &**stage {
            Stage::Filters(chain) => Some(chain),
            _ => None,
        })
    }

    /// Returns true if the route translates gRPC-Web.
    pub(crate) fn has_grpc_web(&self) -> bool {
        self.entry.iter().any(|stage| stage.is_grpc_web())
    }

    /// Returns true if the route answers preflight requests.
    pub(crate) fn has_cors(&self) -> bool {
        self.admission.iter().any(|stage| matches!(**stage, Stage::Cors(_)))
    }

    /// Returns true if the header edits take in values of the request.
    pub(crate) fn has_placeholders(&self) -> bool {
        self.with_placeholders.is_some()
    }

    /// Applies the outgoing stages to the fields of a request.
    pub(crate) fn edit_outgoing(&self, resolved: &ResolvedEdits, headers: &mut Fields) {
        for stage in &self.outgoing {
            if let Stage::Headers(edits) = &**stage {
                resolved.of(stage, edits).request.apply_to_request(headers);
            }
        }
    }

    /// Applies the stages behind the filters to the fields of a response that a filter puts in the place of one that broke.
    pub(crate) fn edit_replacement(&self, resolved: &ResolvedEdits, headers: &mut Fields) {
        self.response.iter().for_each(|stage| stage.edit_response(resolved, headers));
    }

    /// Returns true if a request that `other` has admitted needs to pass no stage of this admission any more.
    pub(crate) fn is_admitted_by(&self, other: &Self) -> bool {
        self.admission.iter().all(|stage| other.admission.iter().any(|passed| stage.is_covered_by(passed)))
    }

    /// Returns true if a request that has passed the entry of `other` needs to pass no stage of this entry any more.
    pub(crate) fn is_entered_by(&self, other: &Self) -> bool {
        // gRPC-Web keeps no request away, and the route that was found decides about it.
        let mut kept = self.entry.iter().filter(|stage| !stage.is_grpc_web());
        kept.all(|stage| other.entry.iter().any(|passed| stage.is_covered_by(passed)))
    }
}

impl Stage {
    pub(crate) fn is_filters(&self) -> bool {
        matches!(self, Self::Filters(_))
    }

    pub(crate) fn is_grpc_web(&self) -> bool {
        matches!(self, Self::GrpcWeb(_))
    }

    fn has_placeholders(&self) -> bool {
        matches!(self, Self::Headers(edits) if edits.has_placeholders())
    }

    /// Edits the fields of a response.
    pub(crate) fn edit_response(&self, resolved: &ResolvedEdits, headers: &mut Fields) {
        match self {
            Self::Headers(edits) => resolved.of(self, edits).response.apply(headers),
            #[cfg(test)]
            Self::Probe(probe) => probe.response(headers),
            _ => {}
        }
    }

    /// Returns true if a request that has passed the stage `passed` has passed this one, too.
    fn is_covered_by(&self, passed: &Self) -> bool {
        match (self, passed) {
            (Self::Filters(own), Self::Filters(passed)) => own.is_within(passed),
            (Self::RequestId(_), Self::RequestId(_)) => true,
            (Self::Addresses(own), Self::Addresses(passed)) => own == passed,
            (Self::Cors(own), Self::Cors(passed)) => own == passed,
            (Self::Auth(own), Self::Auth(passed)) => own.is_same(passed),
            (Self::RateLimits(own), Self::RateLimits(passed)) => own == passed,
            (Self::Concurrent(own), Self::Concurrent(passed)) => own == passed,
            #[cfg(test)]
            (Self::Probe(own), Self::Probe(passed)) => own == passed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn route_that_translates_grpc_web_can_be_chosen_for_any_request() {
        let probe = || Stage::Probe(Probe { requires: HeaderName::from_static("x-key") });
        let translating = Stages::new([Stage::GrpcWeb(GrpcWeb)]);
        assert!(translating.has_grpc_web() && translating.is_entered_by(&Stages::default()));
        assert!(!Stages::new([Stage::GrpcWeb(GrpcWeb), probe()]).is_admitted_by(&translating));
    }
}
