//! The call to the authorizer, and the meaning of its status.

use serde::Deserialize;
use std::time::Duration;

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorizer {
    /// One of the gateway's `upstreams`, with `protocol: h2`.
    pub(crate) upstream: String,
    /// The service with its package, as `shop.Authorizer`.
    pub(crate) service: String,
    pub(crate) method: String,
    #[serde(default = "half_a_second")]
    timeout_ms: u32,
}

fn half_a_second() -> u32 {
    500
}

impl Authorizer {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }
}

/// Returns the metadata of the call: the credentials of a request, and what it asks for.
pub(crate) fn metadata(request: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let sent = request.iter().filter_map(|(name, value)| {
        let name = match name.as_str() {
            ":method" => "x-original-method",
            ":path" => "x-original-path",
            ":authority" => "x-original-host",
            "authorization" | "cookie" => name,
            _ => return None,
        };
        Some((name, value.as_slice()))
    });
    sent.collect()
}

/// Returns the response to a request that may not pass, by the status of the call; `None` is a call that could not be made.
pub(crate) fn refusal(status: Option<u32>) -> (u32, &'static str) {
    match status {
        Some(7) => (403, "not permitted\n"),
        Some(16) => (401, "show a token\n"),
        _ => (503, "authorization is not available\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_statuses_are_decisions_of_the_authorizer() {
        assert_eq!((refusal(Some(7)).0, refusal(Some(16)).0), (403, 401));
        for status in [None, Some(0), Some(4), Some(12), Some(14), Some(u32::MAX)] {
            assert_eq!(refusal(status).0, 503, "{status:?}");
        }
    }

    #[test]
    fn metadata_has_the_request_and_its_credentials_and_nothing_else() {
        let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let request = [
            field(":path", b"/a?b"),
            field("authorization", b"Bearer \xff"),
            field("x-original-path", b"/forged"),
            field("content-length", b"3"),
        ];
        let expected: [(&str, &[u8]); 2] = [("x-original-path", b"/a?b"), ("authorization", b"Bearer \xff")];
        assert_eq!(metadata(&request), expected);
    }

    #[test]
    fn configuration_needs_all_of_a_method() {
        let whole = r#"{"upstream":"a","service":"b.C","method":"D","timeout_ms":50}"#;
        let authorizer: Authorizer = serde_json::from_str(whole).unwrap();
        assert_eq!(authorizer.timeout(), Duration::from_millis(50));
        assert!(serde_json::from_str::<Authorizer>(r#"{"upstream":"a","service":"b.C"}"#).is_err());
    }
}
