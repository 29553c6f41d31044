//! A body on its way through one filter.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Direction;
use crate::filter::context::FilterContext;
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::net::timer::{Timer, deadline};

/// A body as one filter lets it through. It is pulled like any other body. A filter that holds nothing back costs only
/// its callback.
pub(super) struct FilteredBody {
    source: Body,
    context: Rc<FilterContext>,
    direction: Direction,
    timer: Timer,
    /// The data to return next.
    data: Bytes,
    trailers: Option<HeaderMap>,
    given: Given,
    /// The deadline of a pause, while only the filter delays the body.
    pause_ends: Option<Instant>,
}

/// The part of a body that the filter was given. The filter's context has the part that it holds back.
///
/// | state | the filter was given | next state |
/// |---|---|---|
/// | `Data` | the data so far, not its end | the end of the data: `All`, or `DataToEnd` if trailers follow |
/// | `DataToEnd` | the data and its end | the filter holds no data: `Trailers` |
/// | `Trailers` | the data and the trailers | the filter lets the trailers through: `All` |
/// | `All` | everything | |
enum Given {
    Data,
    /// The data, with the trailers that are still to come: the response to them must not release data about which the
    /// filter has not decided yet.
    DataToEnd(Fields),
    /// The trailers too. The exchange has them, for the filter to change.
    Trailers,
    All,
}

impl FilteredBody {
    pub(super) fn new(source: Body, context: Rc<FilterContext>, direction: Direction, timer: Timer) -> Self {
        Self {
            source,
            context,
            direction,
            timer,
            data: Bytes::new(),
            trailers: None,
            given: Given::Data,
            pause_ends: None,
        }
    }

    /// Resolves when the filter no longer holds the head back. Its body callbacks run in the meantime.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.take_what_is_free()?;
            if !self.context.holds_head(self.direction) {
                return Poll::Ready(Ok(()));
            }
            std::task::ready!(self.poll_step(cx))?;
        }
    }

    /// Returns true if the filter holds part of the body back.
    fn holds(&self) -> bool {
        self.context.holds_body(self.direction)
    }

    /// Applies decisions that were made outside of the body's callbacks.
    fn take_what_is_free(&mut self) -> Result<(), Error> {
        // Check for the end of the exchange first: nothing that a filter has rejected may be sent on.
        let free = match self.context.check(self.direction)? {
            Some(free) => Some(free),
            None => self.context.take_released(self.direction),
        };
        if let Some(free) = free {
            self.release(free);
        }
        Ok(())
    }

    fn release(&mut self, data: Bytes) {
        self.pause_ends = None;
        self.data = data;
        if matches!(self.given, Given::Trailers) {
            self.given = Given::All;
            let mut trailers =
                self.context.exchange.trailers.of(self.direction).borrow().clone().map(HeaderMap::from);
            trailers.iter_mut().for_each(forward::filter_trailers);
            self.trailers = trailers;
        }
    }

    /// Returns true if everything has been sent on, or is about to be.
    fn is_over(&self) -> bool {
        matches!(self.given, Given::Trailers | Given::All) && !self.holds()
    }

    /// Gives the filter the next frame, or waits for the source. At the end of the source, waits for the filter.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.context.exchange.waits(cx);
        match &mut self.given {
            Given::Data => {}
            Given::DataToEnd(trailers) if !self.context.holds_body(self.direction) => {
                let trailers = std::mem::take(trailers);
                return Poll::Ready(self.give_trailers(trailers));
            }
            _ => return self.poll_pause(cx),
        }
        match std::task::ready!(self.source.poll_frame(cx)) {
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {
                self.given = Given::All;
                self.give(Bytes::new(), true)?;
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let end = self.source.is_end_stream();
                    if end {
                        self.given = Given::All;
                    }
                    if !data.is_empty() || end {
                        self.give(data, end)?;
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().map(Fields::from);
                    self.given = trailers.map_or(Given::All, Given::DataToEnd);
                    // A filter that waits for the end of the body waits for this call.
                    self.give(Bytes::new(), true)?;
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    fn give(&mut self, data: Bytes, end: bool) -> Result<(), Error> {
        let on = self.context.on_body(self.direction, data, end)?;
        self.release_after_callback(on)
    }

    fn give_trailers(&mut self, trailers: Fields) -> Result<(), Error> {
        *self.context.exchange.trailers.of(self.direction).borrow_mut() = Some(trailers);
        self.given = Given::Trailers;
        let on = self.context.on_trailers(self.direction)?;
        self.release_after_callback(on)
    }

    /// Sends on what a callback let through, or what the check behind it set free.
    fn release_after_callback(&mut self, on: Option<Bytes>) -> Result<(), Error> {
        // The callback may have responded to the request or closed the exchange; then nothing is sent on. Its effects
        // may also have ended the filter's instance: what the callback held back is then free.
        let free = self.context.check(self.direction)?;
        // A filter that let the part through holds nothing, so there is never data in both.
        if let Some(data) = on.or(free) {
            self.release(data);
        }
        Ok(())
    }

    /// Waits for the filter to release what it holds, now that no more data comes in.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.pause_ends.is_none() {
            self.pause_ends = deadline(Some(self.context.policy().pause));
        }
        std::task::ready!(self.timer.poll_elapsed(cx, self.pause_ends));
        let held = self.context.pause_ended(self.direction)?;
        self.release(held);
        Poll::Ready(Ok(()))
    }
}

impl Streaming for FilteredBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
            }
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            if let Err(error) = self.take_what_is_free() {
                return Poll::Ready(Some(Err(error)));
            }
            if !self.data.is_empty() || self.trailers.is_some() || self.is_over() {
                continue;
            }
            if let Err(error) = std::task::ready!(self.poll_step(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over() && self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_over() && self.trailers.is_none() {
            return SizeHint::with_exact(self.data.len() as u64);
        }
        SizeHint::default()
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.source.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.holds() || self.source.is_held_back()
    }
}
