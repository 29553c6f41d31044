//! The account of a peer's cheap frames. Each costs the peer little and us more, and none is wrong by itself.

use std::time::Duration;

use tokio::time::Instant;

/// The number of points at which a connection ends.
const LIMIT: u32 = 1_000;

/// The points that are forgiven each second. A client may send that many pings for as long as it likes.
const FORGIVEN_PER_SECOND: u32 = 10;

/// The points that data pays for. A peer may answer each frame of data with updates of two windows and a ping, as some measure
/// the line by it.
const DATA_POINTS: u32 = 4;

/// The points that a stream pays for which ends well.
const STREAM_POINTS: u32 = 10;

/// The streams that may end before their response, beyond those that end well.
const RESETS_LIMIT: u32 = 200;

/// The resets that are forgiven each second.
const RESETS_FORGIVEN_PER_SECOND: u32 = 5;

/// A kind of frames that a peer sends too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// Streams that are opened and reset, or opened and sent wrong frames so that we reset them (CVE-2023-44487,
    /// CVE-2025-8671), or opened beyond SETTINGS_MAX_CONCURRENT_STREAMS.
    Resets,
    Pings,
    Settings,
    /// DATA without data.
    EmptyData,
    /// HEADERS and CONTINUATION of a few bytes.
    Continuations,
    /// Updates of windows by little.
    WindowUpdates,
    /// PRIORITY, unknown frames, and frames for streams that have ended.
    Useless,
    /// More control frames to answer than the peer reads answers.
    UnreadAnswers,
}

impl Abuse {
    /// Returns the reason in logs and the label in metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Abuse::Resets => "http2.resets",
            Abuse::Pings => "http2.pings",
            Abuse::Settings => "http2.settings",
            Abuse::EmptyData => "http2.empty_data",
            Abuse::Continuations => "http2.continuations",
            Abuse::WindowUpdates => "http2.window_updates",
            Abuse::Useless => "http2.useless_frames",
            Abuse::UnreadAnswers => "http2.unread_answers",
        }
    }
}

/// Points for cheap frames, which time forgives, and for streams that ended early, which streams that end well forgive.
#[derive(Debug)]
pub(crate) struct Account {
    points: u32,
    /// The time up to which points are forgiven.
    since: Instant,
    resets: u32,
    resets_since: Instant,
}

impl Account {
    pub(crate) fn new(now: Instant) -> Self {
        Self { points: 0, since: now, resets: 0, resets_since: now }
    }

    /// Counts a cheap frame.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn frame(&mut self, kind: Abuse, now: Instant) -> Result<(), Abuse> {
        self.points += 1;
        if self.points < LIMIT {
            return Ok(());
        }
        // Only those that come this far pay for looking at the time.
        forgive(&mut self.points, &mut self.since, now, FORGIVEN_PER_SECOND);
        if self.points < LIMIT { Ok(()) } else { Err(kind) }
    }

    /// Counts data in either direction: it pays for frames of control.
    pub(crate) fn data(&mut self) {
        self.points = self.points.saturating_sub(DATA_POINTS);
    }

    /// Counts a stream that ended before its response.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn reset(&mut self, now: Instant) -> Result<(), Abuse> {
        self.resets += 1;
        if self.resets <= RESETS_LIMIT {
            return Ok(());
        }
        forgive(&mut self.resets, &mut self.resets_since, now, RESETS_FORGIVEN_PER_SECOND);
        if self.resets <= RESETS_LIMIT { Ok(()) } else { Err(Abuse::Resets) }
    }

    /// Counts a stream that ended well.
    pub(crate) fn completed(&mut self) {
        self.resets = self.resets.saturating_sub(1);
        self.points = self.points.saturating_sub(STREAM_POINTS);
    }
}

/// Takes off what the time since `since` forgives.
fn forgive(points: &mut u32, since: &mut Instant, now: Instant, per_second: u32) {
    let seconds = now.saturating_duration_since(*since).as_secs();
    let forgiven = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(per_second);
    *points = points.saturating_sub(forgiven);
    *since += Duration::from_secs(seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_frames_are_limited_by_their_rate_and_not_by_their_number() {
        let start = Instant::now();
        let mut account = Account::new(start);
        // Ten a second, for an hour.
        for frame in 0..36_000u32 {
            let now = start + Duration::from_millis(100) * frame;
            assert_eq!(account.frame(Abuse::Pings, now), Ok(()), "{frame}");
        }
        let mut account = Account::new(start);
        let allowed = (0..10_000).take_while(|_| account.frame(Abuse::Pings, start).is_ok()).count();
        assert_eq!(allowed, 999);
    }

    #[test]
    fn streams_that_end_well_pay_for_those_that_do_not() {
        let now = Instant::now();
        let mut account = Account::new(now);
        for _ in 0..1_000 {
            assert_eq!(account.reset(now), Ok(()));
            account.completed();
        }
        let allowed = (0..10_000).take_while(|_| account.reset(now).is_ok()).count();
        assert_eq!(allowed, 200);
    }
}
