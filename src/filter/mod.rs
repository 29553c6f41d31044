//! Filters: what changes a request and its response on their way, whatever ABI it is written for.
//!
//! A [`Chain`] is what a route has. For one exchange it becomes a [`Session`]: an [`Exchange`], which all filters see and
//! change, and a [`FilterContext`] for each of them, which knows how far that filter has let the message go. Bodies are pulled
//! through the members, one [`FilteredBody`](body) in another, so that backpressure is the same as without filters.

mod body;
mod chain;
pub(crate) mod coding;
mod context;
pub(crate) mod engine;
mod exchange;
mod fields;
pub(crate) mod proxy_wasm;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use chain::{Chain, Session};
pub(crate) use exchange::{
    End, Exchange, LocalResponse, MAP_BYTES_MAX, RequestHead, RequestInfo, ResponseHead,
};
pub(crate) use fields::{field_name, field_value};

pub(crate) use crate::filter::context::{FilterContext, Part, SpliceError};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Request,
    Response,
}

impl Direction {
    fn opposite(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }
}

/// The decision of a filter about a part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Lets it go on.
    Continue,
    /// Holds it back until the filter continues.
    Pause,
    /// Holds a head back, and the body behind it even with `on_headers_pause: continue_body`.
    PauseAll,
    /// Lets a head go on and ends the message with it: the body and the trailers are dropped.
    ContinueAndEnd,
    /// Holds a body back, and drops the piece that the filter was given unless pieces before it are kept.
    PauseWithoutBuffer,
}

/// Why a filter failed. The names are those of `x-gateway-error: filter.NAME.trap`, and of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// No instance could be started.
    Start,
    /// It trapped: a panic, an abort, a bad memory access, an exit.
    Trap,
    /// One call took more CPU time than `limits.time`.
    Time,
    /// It ended for want of memory beyond `limits.memory`.
    Memory,
    /// It used up its stack.
    Stack,
    /// It held a message back for longer than `limits.pause`.
    Pause,
    /// It held more of a body back than `limits.body`.
    Body,
    /// As many instances are at work as there may be.
    Instances,
    /// It sent a local response that cannot be one.
    Response,
    /// It made more than `limits.output`.
    Output,
}

impl Fault {
    /// All of them, in the order of their numbers.
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

    /// Its name in reasons and metrics.
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

/// How the gateway treats a filter, as its configuration has it.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// A failure lets the message go on as it was, in place of an error.
    pub(crate) fails_open: bool,
    /// While the filter holds a head back by [`Action::Pause`], its body callbacks come (`on_headers_pause: continue_body`).
    pub(crate) body_while_head_held: bool,
    /// Local responses go through its response callbacks.
    pub(crate) sees_local_responses: bool,
    /// Bodies are given to it without their content coding.
    pub(crate) decode: bool,
    /// Bytes of a body that it may hold back.
    pub(crate) body_bytes_max: usize,
    /// Bytes that it may make for one exchange, as far as the gateway holds them at one time.
    pub(crate) output_bytes_max: usize,
    /// How long it may hold a message back.
    pub(crate) pause: Duration,
}

/// Which callbacks a filter has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Interests {
    pub(crate) request_head: bool,
    pub(crate) request_body: bool,
    pub(crate) request_trailers: bool,
    pub(crate) response_head: bool,
    pub(crate) response_body: bool,
    pub(crate) response_trailers: bool,
    /// It can look at a head, also after that has gone on.
    pub(crate) looks_at_heads: bool,
}

impl Interests {
    /// Whether it has a say in a message of this direction.
    pub(crate) fn any(self, direction: Direction) -> bool {
        self.head(direction) || self.body(direction) || self.trailers(direction)
    }

    pub(crate) fn head(self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_head,
            Direction::Response => self.response_head,
        }
    }

    pub(crate) fn body(self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_body,
            Direction::Response => self.response_body,
        }
    }

    pub(crate) fn trailers(self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request_trailers,
            Direction::Response => self.response_trailers,
        }
    }
}

/// A filter, as a route has it. Each ABI is one of these.
pub(crate) trait Filter: Send + Sync {
    /// How it is to be treated.
    fn policy(&self) -> &Policy;

    /// Which callbacks it has; all else passes it by.
    fn interests(&self) -> Interests;

    /// The reason of an error that it causes: `filter.NAME.trap`.
    fn reason(&self, fault: Fault) -> &'static str;

    /// Counts a fault that the chain found, and tells the log of it now and then.
    fn failed(&self, fault: Fault);

    /// Prepares for one exchange, on this worker. The member is where the filter finds and changes it.
    ///
    /// # Errors
    /// It could not be started.
    fn begin(self: Arc<Self>, member: &Rc<FilterContext>) -> Result<Box<dyn Callbacks>, Fault>;
}

/// One filter's callbacks for one exchange. They run on the worker, and what they change is in the [`FilterContext`].
pub(crate) trait Callbacks {
    /// The head of a message is there, with so many fields; `end` when nothing follows it.
    fn on_head(&self, direction: Direction, fields: usize, end: bool) -> Result<Action, Fault>;

    /// So many bytes of a body are in the member's buffer; `end` when nothing follows them.
    fn on_body(&self, direction: Direction, bytes: usize, end: bool) -> Result<Action, Fault>;

    /// The trailer section is there: nothing follows it.
    fn on_trailers(&self, direction: Direction, fields: usize) -> Result<Action, Fault>;

    /// The exchange is over.
    fn on_end(&self);
}
