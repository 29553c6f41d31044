//! Numbers in cells.

/// Returns a rate: `0`, `0.4`, `12`, `1.2k`.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        _ if rate <= 0.0 => "0".to_owned(),
        _ if rate < 0.05 => "<0.1".to_owned(),
        _ if rate < 9.95 => format!("{rate:.1}"),
        _ if rate < 9_999.5 => format!("{rate:.0}"),
        _ if rate < 999_500.0 => format!("{:.0}k", rate / 1e3),
        _ => format!("{:.1}M", rate / 1e6),
    }
}

/// Returns a part of all: `0%`, `<1%`, `42%`; `-` for none.
pub(crate) fn share(share: Option<f64>) -> String {
    match share {
        None => "-".to_owned(),
        Some(share) if share <= 0.0 => "0%".to_owned(),
        Some(share) if share < 0.01 => "<1%".to_owned(),
        // 100 % is all.
        Some(share) => format!("{:.0}%", (share * 100.0).floor()),
    }
}

/// Returns a time in seconds: `0`, `90µs`, `1.2ms`, `45ms`, `2.5s`; `-` for none.
pub(crate) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds <= 0.0 => "0".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0}µs", seconds * 1e6),
        Some(seconds) if seconds < 0.00995 => format!("{:.1}ms", seconds * 1e3),
        Some(seconds) if seconds < 0.9995 => format!("{:.0}ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1}s"),
    }
}

/// Returns the time that has passed: `now`, `12s ago`, `3m ago`, `5h ago`, `9d ago`; `never`.
pub(crate) fn ago(seconds: Option<f64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds) if seconds < 10.0 => "now".to_owned(),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0}s ago"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.0}m ago", seconds / 60.0),
        Some(seconds) if seconds < 172_800.0 => format!("{:.0}h ago", seconds / 3_600.0),
        Some(seconds) => format!("{:.0}d ago", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let rates = [0.0, 0.01, 0.44, 12.3, 9_999.0, 12_345.0, 2.5e6].map(rate);
        assert_eq!(rates, ["0", "<0.1", "0.4", "12", "9999", "12k", "2.5M"]);
        let shares = [None, Some(0.0), Some(0.004), Some(0.999), Some(1.0)].map(share);
        assert_eq!(shares, ["-", "0%", "<1%", "99%", "100%"]);
        let times = [None, Some(0.0), Some(9e-5), Some(0.0012), Some(0.045), Some(2.5)].map(time);
        assert_eq!(times, ["-", "0", "90µs", "1.2ms", "45ms", "2.5s"]);
        let agos = [None, Some(1.0), Some(12.0), Some(180.0), Some(18_000.0), Some(777_600.0)].map(ago);
        assert_eq!(agos, ["never", "now", "12s ago", "3m ago", "5h ago", "9d ago"]);
    }
}
