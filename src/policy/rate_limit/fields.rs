//! The fields by which clients learn about limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), and
//! `Retry-After` (RFC 9110 §10.2.3).

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use crate::http::fields::Fields;
use crate::net::clock::nanos;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A member of `RateLimit-Policy`: a name, the requests at once, and the time in which they come back.
pub(super) struct Policy<'a> {
    pub(super) name: &'a str,
    pub(super) quota: u64,
    pub(super) window: Duration,
}

/// Returns the value of `RateLimit-Policy`.
pub(super) fn policy<'a>(members: impl IntoIterator<Item = Policy<'a>>) -> HeaderValue {
    let members = members
        .into_iter()
        .map(|Policy { name, quota, window }| format!("\"{name}\";q={quota};w={}", seconds(nanos(window))));
    let members: Vec<String> = members.collect();
    // Names are letters and digits.
    HeaderValue::try_from(members.join(", ")).unwrap_or(const { HeaderValue::from_static("") })
}

/// A value of `RateLimit` in the making.
#[derive(Default)]
pub(super) struct Standings(String);

impl Standings {
    /// Adds a member: the requests that are left, and the nanoseconds until all are back.
    pub(super) fn add(&mut self, name: &str, remaining: u64, reset: u64) {
        if self.0.capacity() == 0 {
            self.0.reserve(48);
        }
        let separator = if self.0.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        write!(self.0, "{separator}\"{name}\";r={remaining};t={}", reset.div_ceil(NANOS)).unwrap_or_default();
    }

    /// Returns the fields of a response.
    pub(super) fn into_fields(self, policy: &HeaderValue, retry_after: Option<u64>) -> Fields {
        let mut fields = Fields::with_capacity(3);
        // Nothing is known about limits whose store does not respond.
        if !self.0.is_empty()
            && let Ok(value) = HeaderValue::try_from(self.0)
        {
            fields.append(RATELIMIT_POLICY, policy.clone());
            fields.append(RATELIMIT, value);
        }
        if let Some(wait) = retry_after {
            fields.append(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        fields
    }
}

const NANOS: u64 = 1_000_000_000;

/// Returns whole seconds, rounded up, at least one.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_structured_and_seconds_are_rounded_up() {
        let second = Policy { name: "second", quota: 200, window: Duration::from_secs(2) };
        let hour = Policy { name: "hour", quota: 1000, window: Duration::from_hours(1) };
        let policy = policy([second, hour]);
        let mut standings = Standings::default();
        standings.add("second", 199, 10_000_000);
        standings.add("hour", 0, 3_600_000_000_001);
        let fields = standings.into_fields(&policy, Some(1_000_000_001));
        let expected = [
            ("ratelimit-policy", r#""second";q=200;w=2, "hour";q=1000;w=3600"#),
            ("ratelimit", r#""second";r=199;t=1, "hour";r=0;t=3601"#),
            ("retry-after", "2"),
        ];
        assert_eq!(fields, Fields::written(&expected));
        let fields = Standings::default().into_fields(&policy, Some(0));
        assert_eq!(fields, Fields::written(&[("retry-after", "1")]));
    }
}
