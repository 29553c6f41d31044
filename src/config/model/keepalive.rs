//! `tcp_keepalive`: the detection of peers that have vanished silently.

use std::num::{NonZeroU8, NonZeroU32};
use std::{fmt, time};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

/// TCP keep-alive probes (RFC 9293 §3.8.4) on connections without traffic. If a peer answers none of them, because its
/// machine or the network between is gone, its connection ends after `idle` and `probes` times `interval` as if the
/// peer had closed it. Probes also keep firewalls and address translators on the way from forgetting the connection.
/// They are on by default, because nothing else finds the vanished peer of a tunnel whose `timeouts.idle` is off, and a
/// probe a minute costs next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TcpKeepalive {
    /// Time without traffic before the first probe. In whole seconds, rounded up; the kernel takes 9h at most.
    pub(crate) idle: Duration,
    /// Time between two probes. Rounded and limited as `idle`.
    pub(crate) interval: Duration,
    /// Unanswered probes after which the connection ends; the kernel takes 127 at most.
    pub(crate) probes: NonZeroU8,
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        let probes = const { NonZeroU8::new(6) }.unwrap_or(NonZeroU8::MIN);
        Self { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes }
    }
}

impl TcpKeepalive {
    /// Returns the default, which is on.
    pub(crate) fn on() -> OrOff<Self> {
        OrOff::On(Self::default())
    }

    /// Returns the settings as Linux takes them.
    pub(crate) fn settings(self) -> KeepaliveSettings {
        KeepaliveSettings {
            idle: seconds(self.idle),
            interval: seconds(self.interval),
            probes: NonZeroU32::from(self.probes).get().min(127),
        }
    }
}

/// Keep-alive settings of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeepaliveSettings {
    /// Whole seconds before the first probe, from 1 to 32767.
    pub(crate) idle: time::Duration,
    /// Whole seconds between two probes, from 1 to 32767.
    pub(crate) interval: time::Duration,
    /// The number of probes, from 1 to 127.
    pub(crate) probes: u32,
}

impl fmt::Display for KeepaliveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/{}", self.idle, self.interval, self.probes)
    }
}

/// Rounds up to whole seconds, at most the maximum of Linux (`MAX_TCP_KEEPIDLE`).
fn seconds(duration: Duration) -> time::Duration {
    let duration = time::Duration::from(duration);
    let up = u64::from(duration.subsec_nanos() > 0);
    time::Duration::from_secs(duration.as_secs().saturating_add(up).min(32_767))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_within_what_the_kernel_takes() {
        for (written, expected) in [
            (Duration::from_millis(1), 1),
            (Duration::from_secs(60), 60),
            (Duration::from_millis(1001), 2),
            (Duration::from_secs(86_400), 32_767),
        ] {
            assert_eq!(seconds(written), time::Duration::from_secs(expected), "{written}");
        }
        let most = TcpKeepalive { probes: NonZeroU8::MAX, ..TcpKeepalive::default() };
        assert_eq!(most.settings().probes, 127);
    }
}
