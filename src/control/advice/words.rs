//! Numbers in sentences.

use std::time::Duration;

/// Returns a stretch of time: "the last 5 minutes".
pub(super) fn last(length: Duration) -> String {
    let seconds = length.as_secs().max(1);
    match seconds {
        1 => "the last second".to_owned(),
        2..90 => format!("the last {seconds} seconds"),
        _ => format!("the last {} minutes", (seconds + 30) / 60),
    }
}

/// Returns a part of all in per cent: "40 %", "< 1 %".
pub(super) fn per_cent(share: f64) -> String {
    let per_cent = (share * 100.0).round();
    if per_cent < 1.0 { "< 1 %".to_owned() } else { format!("{per_cent} %") }
}

/// Returns a time to two digits: "180 ms".
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Returns a time as the configuration writes it: `4s`, `1500ms`, `10m`.
pub(super) fn setting(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        _ if millis.is_multiple_of(60_000) && millis > 0 => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// Returns the time that a setting has, or `off`.
pub(super) fn setting_or_off(time: Option<Duration>) -> String {
    time.map_or("off".to_owned(), setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let lasts = [0, 1, 42, 89, 95, 275, 300].map(|seconds| last(Duration::from_secs(seconds)));
        let expected =
            ["second", "second", "42 seconds", "89 seconds", "2 minutes", "5 minutes", "5 minutes"];
        assert_eq!(lasts, expected.map(|length| format!("the last {length}")));
        assert_eq!([0.001, 0.404, 1.0].map(per_cent), ["< 1 %", "40 %", "100 %"]);
        assert_eq!([0.0004, 0.18, 2.44].map(time), ["400 µs", "180 ms", "2.4 s"]);
        assert_eq!(
            [600_000, 4000, 1500].map(|ms| setting(Duration::from_millis(ms))),
            ["10m", "4s", "1500ms"]
        );
        assert_eq!(setting_or_off(None), "off");
    }
}
