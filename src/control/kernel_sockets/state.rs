//! The states of a TCP connection as the kernel counts them.

/// A state (include/net/tcp_states.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Established,
    /// This side has sent its SYN.
    Connecting,
    /// The peer has closed, and this side has not.
    CloseWait,
    /// This side has closed, and waits for the peer or for segments that are still under way.
    Closing,
    /// This side has closed first, and the kernel keeps the pair of ports for a minute.
    TimeWait,
}

impl State {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Established),
            2 => Some(Self::Connecting),
            8 => Some(Self::CloseWait),
            4 | 5 | 9 | 11 => Some(Self::Closing),
            6 => Some(Self::TimeWait),
            _ => None,
        }
    }

    /// The bits of all these states, for a request.
    pub(super) const MASK: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11;
}
