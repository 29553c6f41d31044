//! The filters of a route, and their work on one exchange.

mod prefetch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use prefetch::{PrefetchWait, begin};
use tokio::time::Instant;

use super::body::FilteredBody;
use super::coding::{Codings, decoded, head_of_changed, head_of_decoded};
use super::exchange::{End, FilteredExchange, RequestHead, RequestInfo, ResponseHead};
use super::fields::remove_framing;
use super::{Direction, Filter, HeadAccess, Interests};
use crate::filter::context::FilterContext;
use crate::http::body::{Body, Limited};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::message::Response;
use crate::http::message::may_have_body;
use crate::net::clock;
use crate::net::timer::{Timer, deadline};

/// The filters of a route, at least one, in the order of the configuration. Requests pass through them in this order,
/// responses in the reverse order.
pub(crate) struct Chain {
    filters: Vec<Arc<dyn Filter>>,
    sees_requests: bool,
}

impl Chain {
    /// Returns `None` if there are no filters.
    pub(crate) fn new(filters: Vec<Arc<dyn Filter>>) -> Option<Self> {
        let mut interests = filters.iter().map(|filter| filter.interests());
        let sees = |one: Interests| one.reads_heads || one.any(Direction::Request);
        let sees_requests = interests.any(sees);
        (!filters.is_empty()).then_some(Self { filters, sees_requests })
    }

    /// Returns true if a filter reads requests or may change them.
    pub(crate) fn sees_requests(&self) -> bool {
        self.sees_requests
    }

    /// Returns true if all filters of this chain are among those of the other.
    pub(crate) fn is_within(&self, others: &Self) -> bool {
        self.filters.iter().all(|one| others.filters.iter().any(|other| Arc::ptr_eq(one, other)))
    }
}

/// A chain's work on one exchange. Its creator must call [`end`](Session::end).
pub(crate) struct Session {
    pub(crate) exchange: Rc<FilteredExchange>,
    contexts: RefCell<Vec<Rc<FilterContext>>>,
    /// The number of filters that the request has reached, counted from the first.
    reached: Cell<usize>,
    /// The request has passed all filters.
    passed: Cell<bool>,
    /// A response is passing, or has passed, through the filters.
    responds: Cell<bool>,
    /// The times of the filters, if they are recorded.
    work: RefCell<Option<Vec<FilterWork>>>,
}

/// The time for which a filter has worked on the head of a message, or held it back.
pub(crate) struct FilterWork {
    pub(crate) name: Arc<str>,
    pub(crate) is_response: bool,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
}

/// The work of a filter in progress. Dropping it records its time.
struct Working<'a> {
    session: &'a Session,
    context: Rc<FilterContext>,
    direction: Direction,
    began: Instant,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let (is_response, began) = (self.direction == Direction::Response, self.began);
        if let Some(work) = &mut *self.session.work.borrow_mut() {
            let (name, took) = (self.context.name().into(), clock::since(began));
            work.push(FilterWork { name, is_response, began, took });
        }
    }
}

impl Session {
    pub(crate) fn new(request_info: RequestInfo, request: RequestHead) -> Rc<Self> {
        let exchange = Rc::new(FilteredExchange::new(request_info, request));
        Rc::new(Self {
            exchange,
            contexts: RefCell::default(),
            reached: Cell::new(0),
            passed: Cell::new(false),
            responds: Cell::new(false),
            work: RefCell::default(),
        })
    }

    /// Has the times of the filters recorded.
    pub(crate) fn record_work(&self) {
        *self.work.borrow_mut() = Some(Vec::new());
    }

    /// Returns the times of the filters, if they were recorded.
    pub(crate) fn take_work(&self) -> Vec<FilterWork> {
        self.work.take().unwrap_or_default()
    }

    fn working(&self, context: &Rc<FilterContext>, direction: Direction) -> Option<Working<'_>> {
        let is_recorded = self.work.borrow().is_some();
        is_recorded.then(|| Working {
            session: self,
            context: context.clone(),
            direction,
            began: clock::now(),
        })
    }

    /// Prepares the filters for the exchange.
    pub(crate) fn begin(&self, chain: &Chain) -> Result<(), Error> {
        for filter in &chain.filters {
            let context = FilterContext::begin(filter, &self.exchange)?;
            self.contexts.borrow_mut().push(context);
        }
        self.exchange.check_not_ended()?;
        if !chain.sees_requests() {
            // Requests bypass these filters, and count as having reached all of them.
            self.reached.set(chain.filters.len());
            self.passed.set(true);
        }
        Ok(())
    }

    /// Takes the request through the filters. The head to filter is in the exchange. Returns the head and the body to
    /// send on.
    ///
    /// # Errors
    /// Fails if a filter that fails closed has failed, or if a filter has ended the exchange: see
    /// [`Session::local_response`].
    pub(crate) async fn request(&self, body: Body, timer: &Timer) -> Result<(RequestHead, Body), Error> {
        // This comes first: otherwise a client could use `Connection` to remove a field that a filter sets about it.
        forward::remove_named(&mut self.exchange.request.borrow_mut().headers);
        // These fields belong to the client's connection and are removed before the request is sent on. No filter can
        // ask an upstream for an upgrade.
        let own = forward::hop_by_hop(&self.exchange.request.borrow().headers);
        let asks_first = self.exchange.request.borrow().headers.contains_key(header::EXPECT);
        self.set_visible_length(Direction::Request, &body);
        let positions = 0..self.contexts.borrow().len();
        let passed = self.pass(Direction::Request, positions, body, true, timer).await?;
        forward::replace_hop_by_hop(&mut self.exchange.request.borrow_mut().headers, own);
        // The filters still see the head, whatever becomes of it on its way upstream. Changes that they make from here
        // on, as pieces of the body arrive, are too late, however soon those pieces arrive.
        let access = self.head_access(Direction::Request);
        let head = self.exchange.request.borrow_mut().take_for_upstream(access);
        // A client that waits for `100 Continue` gets it when the upstream wants the body.
        let begins = passed.changes && !asks_first;
        let body = if begins { begin(passed.body, PrefetchWait::Short, timer).await? } else { passed.body };
        self.passed.set(true);
        Ok((head, body))
    }

    /// Takes a response through the filters, the last one first.
    ///
    /// # Errors
    /// Fails as [`Session::request`] does, or if the response's body fails before any of it was sent on.
    pub(crate) async fn response(
        &self,
        response: Response<Body>,
        timer: &Timer,
    ) -> Result<Response<Body>, Error> {
        // A filter may have ended the exchange before the response arrived.
        self.exchange.check_not_ended()?;
        self.responds.set(true);
        let positions = 0..self.contexts.borrow().len();
        self.respond(response, positions, timer).await
    }

    /// Takes a filter's own response through the filters that the request has reached, the last one first and its
    /// sender included. Returns `None` if no filter has a response.
    ///
    /// A local response that a filter sends while another response passes replaces that response directly. Its sender
    /// has already seen the response, and two filters could replace each other's responses forever.
    pub(crate) async fn local_response(&self, timer: &Timer) -> Option<Result<Response<Body>, Error>> {
        let response = self.take_local()?;
        if self.responds.replace(true) {
            return Some(Ok(response));
        }
        let sees = |position: &usize| {
            self.contexts.borrow().get(*position).is_some_and(|context| context.policy().sees_local_responses)
        };
        let positions = (0..self.reached.get()).filter(sees);
        match self.respond(response, positions, timer).await {
            Ok(response) => Some(Ok(response)),
            Err(error) => Some(self.take_local().ok_or(error)),
        }
    }

    /// Returns true if the request has passed the filters and no response has gone through them yet.
    pub(crate) fn awaits_response(&self) -> bool {
        self.passed.get() && !self.responds.get()
    }

    /// Takes a filter's own response, unfiltered.
    pub(crate) fn take_local(&self) -> Option<Response<Body>> {
        self.exchange.take_answer().map(|mut local| {
            remove_framing(&mut local.headers);
            local.into()
        })
    }

    /// Takes a response through these filters, the last one first.
    async fn respond(
        &self,
        response: Response<Body>,
        positions: impl DoubleEndedIterator<Item = usize>,
        timer: &Timer,
    ) -> Result<Response<Body>, Error> {
        let Response { mut status, mut headers, body } = response;
        let method = &self.exchange.request_info.method;
        let kept = ReservedFields::of(method, &body, status, &mut headers);
        let has_body = *method != Method::HEAD && may_have_body(status);
        let length = kept.content_length.clone();
        *self.exchange.response.borrow_mut() = Some(ResponseHead { status, headers, length });
        if has_body {
            self.set_visible_length(Direction::Response, &body);
        }
        let passed = self.pass(Direction::Response, positions.rev(), body, has_body, timer).await?;
        let stays = self.head_access(Direction::Response) == HeadAccess::Always;
        let mut headers = Fields::new();
        if let Some(head) = &mut *self.exchange.response.borrow_mut() {
            remove_framing(&mut head.headers);
            kept.restore(head, passed.changes);
            status = head.status;
            headers = if stays { head.headers.clone() } else { std::mem::take(&mut head.headers) };
        }
        let body = match () {
            // A filter chose a status without a body; the body of a HEAD only supplies its length.
            () if has_body && !may_have_body(status) => Body::Empty,
            () if !has_body && passed.changes => Body::Empty,
            () if passed.changes => begin(passed.body, PrefetchWait::of(&headers), timer).await?,
            () => passed.body,
        };
        Ok(Response { status, headers, body })
    }

    /// Returns true if a filter has a call of its own in progress and may decide about the exchange when that
    /// completes.
    pub(crate) fn may_decide_later(&self) -> bool {
        self.contexts.borrow().iter().any(|context| context.has_calls_out())
    }

    /// Resolves to the error with which a filter has ended the exchange outside of its message callbacks.
    pub(crate) fn poll_decided(&self, cx: &mut Context<'_>) -> Poll<Error> {
        self.exchange.waits(cx);
        self.exchange.check_not_ended().err().map_or(Poll::Pending, Poll::Ready)
    }

    /// Returns the times at which any of the filters sees heads of this direction.
    fn head_access(&self, direction: Direction) -> HeadAccess {
        let contexts = self.contexts.borrow();
        let access = contexts.iter().map(|context| context.head_access(direction)).max();
        access.unwrap_or(HeadAccess::Never)
    }

    /// Ends the exchange and notifies the filters.
    pub(crate) fn end(&self, end: End) {
        self.exchange.ended(end);
        for context in self.contexts.take() {
            context.on_end();
        }
    }

    /// Gives the head to each filter in turn, and wraps the body for each filter that reads it.
    async fn pass(
        &self,
        direction: Direction,
        positions: impl Iterator<Item = usize>,
        mut body: Body,
        has_body: bool,
        timer: &Timer,
    ) -> Result<FilteredMessage, Error> {
        let mut changes = false;
        for position in positions {
            let Some(context) = self.contexts.borrow().get(position).cloned() else { continue };
            if direction == Direction::Request {
                self.reached.set(position + 1);
            }
            let _working = self.working(&context, direction);
            let interests = context.interests().of(direction);
            let end = !has_body || body.is_end_stream();
            let reads = interests.body;
            if reads && context.policy().decode {
                body = self.undo_coding(direction, body, end);
            }
            if reads && direction == Direction::Response && !changes {
                self.with_headers(direction, head_of_changed);
            }
            changes |= reads;
            // Check before the callback too: once a filter has ended the exchange, later filters must not see it.
            context.check(direction)?;
            let ends = context.on_head(direction, end)? && !end;
            context.check(direction)?;
            if ends {
                body = Body::Empty;
                changes = true;
                self.with_headers(direction, head_of_ended);
                self.set_visible_length(direction, &body);
                continue;
            }
            let has_trailers = interests.trailers && may_have_trailers(direction, &body);
            if end || !(reads || has_trailers) {
                wait_for_head(&context, direction, &mut body, timer).await?;
                continue;
            }
            let mut filtered = FilteredBody::new(body, context.clone(), direction, timer.clone());
            if reads && context.is_given_body_meanwhile(direction) {
                std::future::poll_fn(|cx| filtered.poll_head(cx)).await?;
                body = Body::boxed(filtered);
            } else {
                body = Body::boxed(filtered);
                wait_for_head(&context, direction, &mut body, timer).await?;
            }
        }
        Ok(FilteredMessage { body, changes })
    }

    fn with_headers<T>(&self, direction: Direction, edit: impl FnOnce(&mut Fields) -> T) -> Option<T> {
        match direction {
            Direction::Request => Some(edit(&mut self.exchange.request.borrow_mut().headers)),
            Direction::Response => {
                self.exchange.response.borrow_mut().as_mut().map(|head| edit(&mut head.headers))
            }
        }
    }

    /// Sets the Content-Length that filters see like any other field. Afterwards it is derived again from the body.
    fn set_visible_length(&self, direction: Direction, body: &Body) {
        if self.head_access(direction) == HeadAccess::Never {
            return;
        }
        let length = body.size_hint().exact().filter(|length| *length > 0).map(HeaderValue::from);
        match direction {
            Direction::Request => self.exchange.request.borrow_mut().length = length,
            Direction::Response => {
                if let Some(head) = &mut *self.exchange.response.borrow_mut() {
                    head.length = length;
                }
            }
        }
    }

    /// Gives the remaining filters the body without its content coding, and a matching head.
    fn undo_coding(&self, direction: Direction, body: Body, end: bool) -> Body {
        let failure = match direction {
            Direction::Request => Error::RequestCoding,
            Direction::Response => Error::ResponseCoding,
        };
        let undo = |headers: &mut Fields| {
            let codings = Codings::of(direction, headers)?;
            head_of_decoded(headers);
            Some(codings)
        };
        // A range is a part of the coded representation. With several ranges, only the status reveals that.
        let status = self.exchange.response.borrow().as_ref().map(|head| head.status);
        if direction == Direction::Response && status == Some(StatusCode::PARTIAL_CONTENT) {
            return body;
        }
        match self.with_headers(direction, undo).flatten() {
            Some(codings) if !end => {
                let mut body = decoded(body, &codings, failure);
                // The client's limit applies to the decoded size too, not only to the size on the wire.
                if let (Direction::Request, Some(limit)) =
                    (direction, self.exchange.request_info.request_bytes_max)
                {
                    body = Body::boxed(Limited::new(body, limit));
                }
                self.set_visible_length(direction, &body);
                body
            }
            _ => body,
        }
    }
}

/// Adjusts the head of a message that a filter's decision ends with it. Removes the fields that describe the original
/// body. `Expect` asks to send one (RFC 9110 §10.1.1).
fn head_of_ended(headers: &mut Fields) {
    headers.remove(header::EXPECT);
    headers.remove(header::TRAILER);
    head_of_decoded(headers);
}

struct FilteredMessage {
    body: Body,
    /// A filter may have replaced the body.
    changes: bool,
}

/// Fields of a response that filters do not control.
struct ReservedFields {
    status: StatusCode,
    /// The length of the body that follows. In the response to a HEAD and in a 304, the length that a GET would have
    /// got.
    content_length: Option<HeaderValue>,
    upgrade: Option<HeaderValue>,
}

impl ReservedFields {
    /// Takes the length out of the fields, which keep it only if no body follows.
    fn of(method: &Method, body: &Body, status: StatusCode, headers: &mut Fields) -> Self {
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        // If a filter has made a HEAD of another request, the response describes a body that does not follow.
        let is_true = *method == Method::HEAD || !may_have_body(status) || !body.is_end_stream();
        Self {
            status,
            content_length: headers.remove(header::CONTENT_LENGTH).filter(|_| is_true),
            upgrade: if switches { headers.get(header::UPGRADE).cloned() } else { None },
        }
    }

    fn restore(self, head: &mut ResponseHead, changes: bool) {
        // With a filter's status the response may have a different body, or none (RFC 9110 §8.6).
        let is_true = head.status == self.status || may_have_body(head.status) && may_have_body(self.status);
        if let Some(length) = self.content_length.filter(|_| is_true && !changes) {
            head.headers.insert(header::CONTENT_LENGTH, length);
        }
        if let Some(protocol) = self.upgrade {
            forward::set_upgrade(&mut head.headers, protocol);
        }
    }
}

/// Returns true if trailers may follow a body. In HTTP/1 they follow only chunks (RFC 9112 §7.1.2), so a known length
/// rules them out without waiting. A request of HTTP/2 may have both.
fn may_have_trailers(direction: Direction, body: &Body) -> bool {
    let may_be_http2 = direction == Direction::Request && matches!(body, Body::Boxed(_));
    may_be_http2 || body.size_hint().exact().is_none()
}

/// Waits until a filter releases the head, if it holds it back. Background work of the body continues meanwhile.
async fn wait_for_head(
    context: &Rc<FilterContext>,
    direction: Direction,
    body: &mut Body,
    timer: &Timer,
) -> Result<(), Error> {
    if !context.holds_head(direction) {
        return Ok(());
    }
    let limit = deadline(Some(context.policy().pause));
    std::future::poll_fn(|cx: &mut Context<'_>| {
        context.exchange.waits(cx);
        // The body has not begun, so only the head can become free.
        context.check(direction)?;
        context.take_released(direction);
        if !context.holds_head(direction) {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(error) = body.poll_background(cx) {
            return Poll::Ready(Err(error));
        }
        std::task::ready!(timer.poll_elapsed(cx, limit));
        Poll::Ready(context.pause_ended(direction).map(drop))
    })
    .await
}
