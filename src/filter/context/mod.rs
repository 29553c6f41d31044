//! One filter in one exchange: what it holds back, and how its failures are handled.

mod buffer;
mod flow;
mod original_head;
mod output;
#[cfg(test)]
mod tests;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use flow::{Flow, GROWTH_BYTES, Original, Side};
use http::StatusCode;
use original_head::OriginalHead;
use output::Parts;
pub(crate) use output::{Part, SpliceError};

use super::exchange::{FilteredExchange, ResponseHead};
use crate::filter::contract::{Action, ByDirection, Direction, Fault, HeadAccess, Interests, Policy};
use crate::http::error::{Error, FilterError};
use crate::http::fields::Fields;

/// The most bytes that a filter may write to the log for one exchange.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// The number of pseudo-headers of a request: `:authority`, `:method`, `:path`, `:scheme`.
const REQUEST_PSEUDO: usize = 4;

/// The number of pseudo-headers of a response: `:status`.
const RESPONSE_PSEUDO: usize = 1;

/// A filter of a route. Each ABI implements this trait.
pub(crate) trait Filter: Send + Sync {
    /// Returns the name of the filter.
    fn name(&self) -> &str;

    /// Returns the configured treatment of the filter.
    fn policy(&self) -> &Policy;

    /// Returns the callbacks that the filter implements. Everything else bypasses it.
    fn interests(&self) -> Interests;

    /// Returns the reason of an error that the filter causes: `filter.NAME.trap`.
    fn reason(&self, fault: Fault) -> &'static str;

    /// Counts a fault that the chain detected, and logs it at a limited rate.
    fn failed(&self, fault: Fault);

    /// Prepares the filter for one exchange on this worker. The filter reads and changes the exchange through `context`.
    ///
    /// # Errors
    /// Fails if the filter could not be started.
    fn begin(self: Arc<Self>, context: &Rc<FilterContext>) -> Result<Box<dyn Callbacks>, Fault>;
}

/// One filter's callbacks for one exchange. They run on the worker, and their changes go into the [`FilterContext`].
pub(crate) trait Callbacks {
    /// Handles the head of a message, which has `fields` fields. `end` is true if nothing follows the head.
    fn on_head(&self, direction: Direction, fields: usize, end: bool) -> Result<Action, Fault>;

    /// Handles `bytes` bytes of a body in the context's buffer. `end` is true if nothing follows them.
    fn on_body(&self, direction: Direction, bytes: usize, end: bool) -> Result<Action, Fault>;

    /// Handles the trailer section, which ends the message.
    fn on_trailers(&self, direction: Direction, fields: usize) -> Result<Action, Fault>;

    /// Handles the end of the exchange.
    fn on_end(&self);
}

/// One filter's part in one exchange.
pub(crate) struct FilterContext {
    pub(crate) exchange: Rc<FilteredExchange>,
    filter: Arc<dyn Filter>,
    callbacks: OnceCell<Box<dyn Callbacks>>,
    sides: ByDirection<RefCell<Side>>,
    /// Bytes that the filter has produced outside of bodies and that the gateway holds.
    made: Cell<usize>,
    /// The part of those bytes that maps and properties hold.
    parts: Parts,
    /// The filter's own calls that are still in progress.
    calls_out: Cell<u32>,
    standing: Cell<Standing>,
    log_bytes: Cell<usize>,
}

/// A filter's standing in one exchange, which holds for the request and the response alike: a fault in one of them ends
/// the filter's part in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    TakesPart,
    /// The filter failed while none of its callbacks for this exchange ran. The exchange learns it when it continues.
    Failed(Fault),
    /// The filter failed open, or could not be started. The exchange continues without it. Each message first gets back
    /// what the filter still holds of it: see [`FilterContext::check`].
    Bypassed,
}

impl FilterContext {
    /// Creates a filter's part in an exchange. A filter that cannot be started and fails open takes no part.
    ///
    /// # Errors
    /// Fails if a filter that fails closed cannot be started, or if the limit of instances is reached.
    pub(super) fn begin(
        filter: &Arc<dyn Filter>,
        exchange: &Rc<FilteredExchange>,
    ) -> Result<Rc<Self>, Error> {
        let context = Rc::new(Self {
            exchange: exchange.clone(),
            filter: filter.clone(),
            callbacks: OnceCell::new(),
            sides: ByDirection::default(),
            made: Cell::new(0),
            parts: Parts::default(),
            calls_out: Cell::new(0),
            standing: Cell::new(Standing::TakesPart),
            log_bytes: Cell::new(LOG_BYTES_MAX),
        });
        match filter.clone().begin(&context) {
            Ok(callbacks) => drop(context.callbacks.set(callbacks)),
            // This limit is not a fault of the filter: a client that exhausts it must not bypass the filter that way.
            Err(Fault::Instances) => {
                return Err(context.error(Fault::Instances, StatusCode::SERVICE_UNAVAILABLE));
            }
            Err(fault) => context.fail_or_bypass(fault)?,
        }
        Ok(context)
    }

    pub(super) fn name(&self) -> &str {
        self.filter.name()
    }

    pub(super) fn policy(&self) -> &Policy {
        self.filter.policy()
    }

    /// Returns the filter's callbacks, or none if it no longer takes part.
    pub(super) fn interests(&self) -> Interests {
        if self.is_bypassed() { Interests::default() } else { self.filter.interests() }
    }

    fn is_bypassed(&self) -> bool {
        self.standing.get() == Standing::Bypassed
    }

    /// Returns true if calls of the filter's own are in progress.
    pub(super) fn has_calls_out(&self) -> bool {
        self.calls_out.get() > 0
    }

    /// Returns the times at which the filter sees heads of this direction. A filter that was bypassed still has its last
    /// callbacks.
    pub(super) fn head_access(&self, direction: Direction) -> HeadAccess {
        self.filter.interests().head_access(direction)
    }

    fn side(&self, direction: Direction) -> &RefCell<Side> {
        self.sides.of(direction)
    }

    /// Releases a message that is held back, or that the running callback is about to hold back.
    pub(crate) fn release(&self, direction: Direction) {
        self.side(direction).borrow_mut().continued = true;
        self.exchange.wake();
    }

    /// Counts a call of the filter's own as started. It delays the exchange's message until it completes.
    pub(crate) fn call_begins(&self) {
        self.calls_out.set(self.calls_out.get().saturating_add(1));
    }

    /// Counts a call as completed or abandoned.
    pub(crate) fn call_ends(&self) {
        self.calls_out.set(self.calls_out.get().saturating_sub(1));
        self.exchange.wake();
    }

    /// Records the loss of the filter's instance, which this exchange did not cause.
    pub(crate) fn fail(&self, fault: Fault) {
        if !self.is_bypassed() {
            self.standing.set(Standing::Failed(fault));
        }
        self.exchange.wake();
    }

    /// Ends the exchange with 500 because the filter requested an invalid replacement for it. The failure policy does
    /// not apply, as the filter did not want the exchange to continue.
    pub(crate) fn refuse(&self, fault: Fault) {
        let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
        self.exchange.refuse(FilterError { reason: self.filter.reason(fault), status });
    }

    /// Returns the number of bytes that the filter may still write to the log.
    pub(crate) fn log_bytes(&self) -> &Cell<usize> {
        &self.log_bytes
    }

    /// Reads the filter's part of a body.
    pub(crate) fn with_buffer<T>(&self, direction: Direction, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.side(direction).borrow().buffer.as_slice())
    }

    /// Returns true if the filter holds a head of this direction back.
    pub(super) fn holds_head(&self, direction: Direction) -> bool {
        self.side(direction).borrow().flow.holds_head()
    }

    /// Returns true if body callbacks run while a head of this direction is held back.
    pub(super) fn is_given_body_meanwhile(&self, direction: Direction) -> bool {
        matches!(self.side(direction).borrow().flow, Flow::HeadHeld { body_waits: false, .. })
    }

    pub(super) fn holds_body(&self, direction: Direction) -> bool {
        self.side(direction).borrow().flow.holds_body()
    }

    /// Gives the head of a message to the filter. Returns true if the filter ends the message with this head.
    pub(super) fn on_head(&self, direction: Direction, end: bool) -> Result<bool, Error> {
        if !self.interests().of(direction).head {
            return Ok(false);
        }
        let Some(callbacks) = self.callbacks.get() else { return Ok(false) };
        let original = self.policy().fails_open.then(|| OriginalHead::of(&self.exchange, direction));
        let fields = self.fields(direction);
        self.side(direction).borrow_mut().continued = false;
        match callbacks.on_head(direction, fields, end) {
            Ok(action) => {
                let mut side = self.side(direction).borrow_mut();
                let pauses = !matches!(action, Action::Continue | Action::ContinueAndEnd);
                if pauses && !std::mem::take(&mut side.continued) {
                    let body_waits = action == Action::PauseAll || !self.policy().body_while_head_held;
                    side.flow = Flow::HeadHeld { original, body_waits };
                }
                Ok(action == Action::ContinueAndEnd)
            }
            Err(fault) => {
                if let Some(original) = original {
                    original.put_back(&self.exchange);
                }
                self.fail_or_bypass(fault)?;
                Ok(false)
            }
        }
    }

    fn fields(&self, direction: Direction) -> usize {
        match direction {
            Direction::Request => {
                let head = self.exchange.request.borrow();
                head.headers.len() + REQUEST_PSEUDO + usize::from(head.length.is_some())
            }
            Direction::Response => {
                let head = self.exchange.response.borrow();
                let fields = |head: &ResponseHead| head.headers.len() + usize::from(head.length.is_some());
                head.as_ref().map_or(0, fields) + RESPONSE_PSEUDO
            }
        }
    }

    /// Gives bytes of a body to the filter, behind those that it holds back. Returns the bytes to send on, or `None` if
    /// it holds them back.
    pub(super) fn on_body(
        &self,
        direction: Direction,
        data: Bytes,
        end: bool,
    ) -> Result<Option<Bytes>, Error> {
        if self.is_bypassed() {
            // The filter may have failed at the other message while it held a part of this one.
            return Ok(Some(self.bypass_with(direction, data)));
        }
        let callbacks = self.callbacks.get().filter(|_| self.interests().of(direction).body);
        let Some(callbacks) = callbacks else { return Ok(Some(data)) };
        let length = {
            let side = &mut *self.side(direction).borrow_mut();
            side.continued = false;
            side.add(data, self.policy())
        };
        match callbacks.on_body(direction, length, end) {
            Ok(action) => self.after_body(direction, action),
            Err(fault) => {
                self.fail_or_bypass(fault)?;
                Ok(Some(self.bypass(direction)))
            }
        }
    }

    fn after_body(&self, direction: Direction, action: Action) -> Result<Option<Bytes>, Error> {
        let mut side = self.side(direction).borrow_mut();
        let continued = std::mem::take(&mut side.continued);
        let goes_on = action == Action::Continue || continued;
        // The response to a call decides about the head as well. The default action for a body must not let an exchange
        // through that this response may still reject.
        let awaits_call = side.flow.holds_head() && self.has_calls_out() && !continued;
        if goes_on && !awaits_call {
            return Ok(Some(side.release()));
        }
        side.hold_body(action);
        let length = side.bytes_kept();
        drop(side);
        if length <= self.policy().body_bytes_max { Ok(None) } else { Err(self.too_large(direction)) }
    }

    fn too_large(&self, direction: Direction) -> Error {
        self.filter.failed(Fault::Body);
        let status = match direction {
            Direction::Request => StatusCode::PAYLOAD_TOO_LARGE,
            Direction::Response => StatusCode::INTERNAL_SERVER_ERROR,
        };
        self.error(Fault::Body, status)
    }

    /// Gives the trailer section to the filter, after the body was sent on. Returns `None` if the filter holds the
    /// trailers back, else the bytes that it has put before them.
    pub(super) fn on_trailers(&self, direction: Direction) -> Result<Option<Bytes>, Error> {
        let callbacks = self.callbacks.get().filter(|_| self.interests().of(direction).trailers);
        let Some(callbacks) = callbacks else { return Ok(Some(Bytes::new())) };
        let trailers = self.exchange.trailers.of(direction);
        let original = if self.policy().fails_open { trailers.borrow().clone() } else { None };
        self.side(direction).borrow_mut().bytes_max =
            self.policy().body_bytes_max.saturating_add(GROWTH_BYTES);
        let fields = trailers.borrow().as_ref().map_or(0, Fields::len);
        self.side(direction).borrow_mut().continued = false;
        match callbacks.on_trailers(direction, fields) {
            Ok(action) => {
                let mut side = self.side(direction).borrow_mut();
                if action == Action::Continue || std::mem::take(&mut side.continued) {
                    return Ok(Some(side.release()));
                }
                side.flow = Flow::TrailersHeld { original };
                Ok(None)
            }
            Err(fault) => {
                self.fail_or_bypass(fault)?;
                *trailers.borrow_mut() = original;
                Ok(Some(Bytes::new()))
            }
        }
    }

    /// Takes what was held back and the filter has now released.
    pub(super) fn take_released(&self, direction: Direction) -> Option<Bytes> {
        let mut side = self.side(direction).borrow_mut();
        let continued = std::mem::take(&mut side.continued);
        (continued && !matches!(side.flow, Flow::Open)).then(|| side.release())
    }

    /// Checks for events outside of this message's callbacks that end the exchange, or the filter's part in it. Returns
    /// the body bytes to send on if the filter takes no further part and held something back:
    ///
    /// | the filter | returns |
    /// |---|---|
    /// | takes part, or failed without a part in this message | `None` |
    /// | failed since the last check | what it held of this message |
    /// | was bypassed earlier, by a fault in the other message | what it still held of this message, once |
    ///
    /// # Errors
    /// Fails if the exchange has ended: with [`Error::FilterAnswered`] if a filter has a response.
    pub(super) fn check(&self, direction: Direction) -> Result<Option<Bytes>, Error> {
        self.exchange.check_not_ended()?;
        match self.standing.get() {
            // A filter that is done with this direction cannot fail in it: the loss of its instance does not concern
            // this message.
            Standing::Failed(fault) if self.has_part_in(direction) => {
                self.standing.set(Standing::TakesPart);
                self.fail_or_bypass(fault)?;
            }
            Standing::Bypassed if self.holds(direction) => {}
            Standing::TakesPart | Standing::Failed(_) | Standing::Bypassed => return Ok(None),
        }
        Ok(Some(self.bypass(direction)))
    }

    /// Returns true if the filter holds any part of a message of this direction back.
    fn holds(&self, direction: Direction) -> bool {
        self.holds_head(direction) || self.holds_body(direction)
    }

    /// Returns true if the filter takes part in messages of this direction, or holds one back.
    fn has_part_in(&self, direction: Direction) -> bool {
        self.interests().any(direction) || self.holds(direction)
    }

    /// Fails the filter because it held a message back for too long. Returns what it held, if it takes no further part.
    pub(super) fn pause_ended(&self, direction: Direction) -> Result<Bytes, Error> {
        self.filter.failed(Fault::Pause);
        self.fail_or_bypass(Fault::Pause)?;
        Ok(self.bypass(direction))
    }

    /// Returns what the filter held back in its original form. The changes of a failed filter are discarded.
    fn bypass(&self, direction: Direction) -> Bytes {
        self.bypass_with(direction, Bytes::new())
    }

    /// Does the same as [`FilterContext::bypass`], and puts the next piece of the body behind what was held.
    fn bypass_with(&self, direction: Direction, next: Bytes) -> Bytes {
        let Original { head, body, trailers } = self.side(direction).borrow_mut().release_original(next);
        if let Some(head) = head {
            head.put_back(&self.exchange);
        }
        if trailers.is_some() {
            *self.exchange.trailers.of(direction).borrow_mut() = trailers;
        }
        body
    }

    /// Returns an error, or lets the exchange continue without the failed filter. The other message may wait for that
    /// filter, so its task is woken.
    fn fail_or_bypass(&self, fault: Fault) -> Result<(), Error> {
        if !self.policy().fails_open {
            return Err(self.error(fault, StatusCode::INTERNAL_SERVER_ERROR));
        }
        self.standing.set(Standing::Bypassed);
        self.exchange.wake();
        Ok(())
    }

    fn error(&self, fault: Fault, status: StatusCode) -> Error {
        Error::Filter(FilterError { reason: self.filter.reason(fault), status: status.as_u16() })
    }

    /// Notifies the filter of the end of the exchange.
    pub(super) fn on_end(&self) {
        if let Some(callbacks) = self.callbacks.get() {
            callbacks.on_end();
        }
    }
}
