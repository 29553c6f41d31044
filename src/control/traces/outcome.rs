//! The outcome of an export.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

/// The longest pause that a receiver can ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The reason for which a receiver has not taken spans.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It may take them later.
    Retry { after: Option<Duration>, error: String },
    /// It will not take them.
    Final(String),
}

impl Refusal {
    pub(super) fn retry(error: impl Into<String>) -> Self {
        Self::Retry { after: None, error: error.into() }
    }

    /// Returns the refusal of a receiver that may name a pause.
    pub(super) fn retry_after(after: Option<Duration>, error: String) -> Self {
        Self::Retry { after: after.map(|after| after.min(RETRY_AFTER_MAX)), error }
    }
}

/// Returns the number of spans that a response says were refused. A response that is no such message says nothing.
pub(super) fn rejected(message: &[u8]) -> u64 {
    let response = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    let Some(partial) = response.partial_success else { return 0 };
    u64::try_from(partial.rejected_spans).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn spans_that_a_receiver_refuses_are_counted() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
        let response = ExportTraceServiceResponse { partial_success: Some(partial) };
        assert_eq!(rejected(&response.encode_to_vec()), 3);
        assert_eq!((rejected(b""), rejected(b"\xff\xff")), (0, 0));
    }
}
