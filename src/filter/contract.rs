//! The terms in which the gateway and a filter deal with each other, whatever the ABI.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

impl Direction {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// A value for the request, and one for the response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByDirection<T> {
    pub(crate) request: T,
    pub(crate) response: T,
}

impl<T> ByDirection<T> {
    pub(crate) fn of(&self, direction: Direction) -> &T {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }
}

/// A filter's decision about a part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Lets the part through.
    Continue,
    /// Holds the part back until the filter continues.
    Pause,
    /// Holds a head back, and the body behind it too, even with `on_headers_pause: continue_body`.
    PauseAll,
    /// Lets a head through and ends the message with it. The body and the trailers are dropped.
    ContinueAndEnd,
    /// Holds a body back and drops the piece that the filter was given, unless earlier pieces are kept.
    PauseWithoutBuffer,
}

/// The reason why a filter failed. The names appear in `x-gateway-error: filter.NAME.trap` and in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// No instance could be started.
    Start,
    /// The guest trapped: a panic, an abort, an invalid memory access, an exit.
    Trap,
    /// One call took more CPU time than `limits.time`.
    Time,
    /// The guest ended because it needed more memory than `limits.memory`.
    Memory,
    /// The guest exhausted its stack.
    Stack,
    /// The filter held a message back for longer than `limits.pause`.
    Pause,
    /// The filter held back more of a body than `limits.body`.
    Body,
    /// The limit of concurrent instances was reached.
    Instances,
    /// The filter sent a local response that is not valid.
    Response,
    /// The filter produced more than `limits.output`.
    Output,
}

impl Fault {
    /// All faults, in the order of their numbers.
    pub(crate) const ALL: [Fault; 10] = [
        Fault::Start,
        Fault::Trap,
        Fault::Time,
        Fault::Memory,
        Fault::Stack,
        Fault::Pause,
        Fault::Body,
        Fault::Instances,
        Fault::Response,
        Fault::Output,
    ];

    /// Returns the name used in reasons and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Start => "start",
            Fault::Trap => "trap",
            Fault::Time => "time",
            Fault::Memory => "memory",
            Fault::Stack => "stack",
            Fault::Pause => "pause",
            Fault::Body => "body",
            Fault::Instances => "instances",
            Fault::Response => "response",
            Fault::Output => "output",
        }
    }
}

/// The configured treatment of a filter.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// True if a failure lets the message continue unchanged instead of causing an error.
    pub(crate) fails_open: bool,
    /// True if body callbacks run while the filter holds the head back with [`Action::Pause`] (`on_headers_pause:
    /// continue_body`).
    pub(crate) body_while_head_held: bool,
    /// True if local responses pass through the filter's response callbacks.
    pub(crate) sees_local_responses: bool,
    /// True if the filter receives bodies with their content coding removed.
    pub(crate) decode: bool,
    /// The most bytes of a body that the filter may hold back.
    pub(crate) body_bytes_max: usize,
    /// The most bytes that the filter may produce for one exchange, counting what the gateway holds at one time.
    pub(crate) output_bytes_max: usize,
    /// The longest time that the filter may hold a message back.
    pub(crate) pause: Duration,
}

/// The callbacks that a filter implements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interests {
    pub(crate) parts: ByDirection<PartsOfInterest>,
    /// True if the filter can read fields in any callback, even after their head has been sent on.
    pub(crate) reads_heads: bool,
}

/// The parts of a message that a filter has callbacks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartsOfInterest {
    pub(crate) head: bool,
    pub(crate) body: bool,
    pub(crate) trailers: bool,
}

/// The times at which filters see the head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HeadAccess {
    Never,
    /// In the callback for the head. Afterwards no filter can tell what becomes of it.
    InCallback,
    /// In every callback, even the last one: the head stays when it is sent on.
    Always,
}

impl Interests {
    pub(crate) fn of(self, direction: Direction) -> PartsOfInterest {
        *self.parts.of(direction)
    }

    /// Returns true if the filter takes part in messages of this direction.
    pub(crate) fn any(self, direction: Direction) -> bool {
        let PartsOfInterest { head, body, trailers } = self.of(direction);
        head || body || trailers
    }

    pub(crate) fn head_access(self, direction: Direction) -> HeadAccess {
        match (self.reads_heads, self.of(direction).head) {
            (true, _) => HeadAccess::Always,
            (false, true) => HeadAccess::InCallback,
            (false, false) => HeadAccess::Never,
        }
    }
}
