//! Flow control (RFC 9113 §5.2): the windows of a connection and of its streams, in both directions.

/// The largest size of a window (RFC 9113 §6.9.1).
const WINDOW_MAX: i64 = 0x7fff_ffff;

/// The window is larger than [`WINDOW_MAX`], or more came than it allowed: FLOW_CONTROL_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The bytes of data that may be sent. A lowered SETTINGS_INITIAL_WINDOW_SIZE makes it negative (RFC 9113 §6.9.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(bytes: u32) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes that may be sent now.
    pub(crate) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Counts bytes that are sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(WINDOW_MAX);
    }

    /// Widens the window, or narrows it if the peer has lowered its setting.
    pub(crate) fn widen(&mut self, by: i64) -> Result<(), Overflow> {
        self.0 += by;
        if self.0 > WINDOW_MAX { Err(Overflow) } else { Ok(()) }
    }
}

/// The bytes of data that the peer may send, and those that are due to be allowed again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveWindow {
    /// The size that the window has when everything that came is consumed.
    size: u32,
    left: u32,
    consumed: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size, left: size, consumed: 0 }
    }

    /// Raises the size, and returns the increment that tells the peer, or `None` if there is nothing to raise.
    pub(crate) fn raise(&mut self, size: u32) -> Option<u32> {
        let increment = size.checked_sub(self.size).filter(|increment| *increment > 0)?;
        self.size = size;
        self.left = self.left.saturating_add(increment);
        Some(increment)
    }

    /// Returns the bytes that came and were not consumed.
    pub(crate) fn held(self) -> u32 {
        self.size.saturating_sub(self.left).saturating_sub(self.consumed)
    }

    /// Fits the size to a reader that is about to consume `bytes`, after which `waiting` bytes wait for it. A reader that waits for
    /// the peer gets twice the window, up to `max`; one that lets more than half of it wait gets half of it, down to `min`.
    pub(crate) fn fit(&mut self, bytes: u32, waiting: u32, min: u32, max: u32) {
        let is_due = self.consumed.saturating_add(bytes) >= self.size / 4;
        if !is_due || min >= max {
            return;
        }
        if waiting == 0 {
            let more = self.size.min(max.saturating_sub(self.size));
            (self.size, self.consumed) = (self.size + more, self.consumed + more);
        } else if waiting > self.size / 2 {
            let less = (self.size / 2).min(self.size.saturating_sub(min)).min(self.consumed);
            (self.size, self.consumed) = (self.size - less, self.consumed - less);
        }
    }

    /// Counts bytes that came, padding included.
    ///
    /// # Errors
    /// More came than was allowed.
    pub(crate) fn received(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.left = self.left.checked_sub(bytes).ok_or(Overflow)?;
        Ok(())
    }

    /// Counts bytes that were consumed. Returns an increment for the peer once a quarter of the window has been consumed: in
    /// larger steps the peer would wait, in smaller ones we would send an update for each frame.
    pub(crate) fn consumed(&mut self, bytes: u32) -> Option<u32> {
        self.consumed = self.consumed.saturating_add(bytes);
        if self.consumed < (self.size / 4).max(1) {
            return None;
        }
        let increment = std::mem::take(&mut self.consumed);
        self.left = self.left.saturating_add(increment);
        Some(increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_for_sending_may_fall_below_zero_and_not_rise_above_its_limit() {
        let mut window = SendWindow::new(10);
        window.sent(4);
        assert_eq!(window.available(), 6);
        assert_eq!(window.widen(-20), Ok(()));
        assert_eq!(window.available(), 0);
        assert_eq!(window.widen(15), Ok(()));
        assert_eq!(window.available(), 1);
        assert_eq!(window.widen(WINDOW_MAX - 1), Ok(()));
        assert_eq!(window.widen(1), Err(Overflow));
    }

    #[test]
    fn a_window_for_receiving_is_allowed_again_by_quarters() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.received(100), Ok(()));
        assert_eq!(window.received(1), Err(Overflow));
        assert_eq!(window.consumed(24), None);
        assert_eq!(window.consumed(1), Some(25));
        assert_eq!(window.received(25), Ok(()));
        assert_eq!(window.received(1), Err(Overflow));
    }

    #[test]
    fn a_window_grows_with_a_reader_that_keeps_up_and_shrinks_with_one_that_does_not() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.received(100), Ok(()));
        window.fit(100, 0, 100, 300);
        assert_eq!(window.consumed(100), Some(200), "all that was consumed, and as much again");
        assert_eq!(window.received(200), Ok(()));
        assert_eq!(window.held(), 200);
        window.fit(60, 140, 100, 300);
        assert_eq!(window.consumed(60), Some(60), "nothing was saved up to shrink by");
        window.fit(20, 120, 100, 300);
        assert_eq!(window.consumed(20), None);
        window.fit(40, 110, 100, 300);
        assert_eq!(window.consumed(40), None, "20 of it are gone");
        assert_eq!((window.size, window.held()), (180, 80));
    }

    #[test]
    fn a_raised_window_announces_the_difference_once() {
        let mut window = ReceiveWindow::new(10);
        assert_eq!((window.raise(30), window.raise(30), window.raise(5)), (Some(20), None, None));
        assert_eq!(window.received(30), Ok(()));
    }
}
