//! The fields of a trace.

use crate::http::fields::Fields;
use crate::observe::traces::{TRACEPARENT, TRACESTATE};

/// Returns copies of the fields that say which trace a request is of, for a request that is made for it.
pub(crate) fn fields(headers: &Fields) -> Fields {
    let is_of_trace = |name: &http::HeaderName| *name == TRACEPARENT || *name == TRACESTATE;
    let fields = headers.iter().filter(|(name, _)| is_of_trace(name));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Adds the fields of a trace to a request that has none.
pub(crate) fn join(headers: &mut Fields, trace: &Fields) {
    if !headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE) {
        headers.extend(trace.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}
