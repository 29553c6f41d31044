//! The time that a client gives its call.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::is_grpc;
use crate::http::fields::Fields;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Returns the `grpc-timeout` of a call; `None` for other requests, and for a call without one. A malformed value is no limit here,
/// as in Envoy. It is forwarded, and the server decides about it.
pub(crate) fn timeout(headers: &Fields) -> Option<Duration> {
    let value = headers.get(GRPC_TIMEOUT).filter(|_| is_grpc(headers))?;
    parse(value.as_bytes())
}

/// The most that eight digits can be.
const NUMBER_MAX: u128 = 99_999_999;

/// Returns the value of `grpc-timeout` for a time: in milliseconds, or in seconds if it has more than eight digits of those.
pub(crate) fn timeout_value(timeout: Duration) -> HeaderValue {
    let (number, unit) = match timeout.as_millis() {
        millis if millis <= NUMBER_MAX => (millis, 'm'),
        millis => ((millis / 1000).min(NUMBER_MAX), 'S'),
    };
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(const { HeaderValue::from_static("0m") })
}

/// Parses a value by the grammar of gRPC's "PROTOCOL-HTTP2": one to eight digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn value_is_up_to_eight_digits_and_a_unit() {
        for (value, duration) in [
            ("1S", Duration::from_secs(1)),
            ("0m", Duration::ZERO),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("00000010n", Duration::from_nanos(10)),
            ("2M", Duration::from_secs(120)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(value.as_bytes()), Some(duration), "{value}");
        }
        for value in ["", "S", "10", "1s", "1h", "-1S", "+1S", "1 S", "1.5S", "100000000n", "1SS", "\u{661}S"]
        {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn written_value_is_read_back() {
        for (seconds, value) in [(0, "0m"), (60, "60000m"), (99_999, "99999000m"), (100_000, "100000S")] {
            let timeout = Duration::from_secs(seconds);
            assert_eq!(timeout_value(timeout), value);
            assert_eq!(parse(value.as_bytes()), Some(timeout));
        }
        assert_eq!(timeout_value(Duration::MAX), "99999999S");
    }

    #[test]
    fn timeout_limits_calls_only() {
        let limit = |kind| timeout(&Fields::written(&[("content-type", kind), ("grpc-timeout", "1S")]));
        assert_eq!(limit("application/grpc+proto"), Some(Duration::from_secs(1)));
        assert_eq!(limit("application/json"), None);
        assert_eq!(timeout(&Fields::written(&[("content-type", "application/grpc")])), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_time_or_none(value in prop::collection::vec(any::<u8>(), 0..12)) {
            let _any = parse(&value);
        }
    }
}
