//! The record of a request until its last byte is sent, for the metrics, the access log and traces.

mod entry;
mod line;
mod progress;
mod traced;

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use self::line::{Line, NO_FIELDS};
use crate::filter::{End, Session};
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::grpc;
use crate::http::message::{Request, Response};
use crate::net::clock;
use crate::net::clock::nanos;
use crate::net::drain::is_cut_off;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::this_worker;
use crate::policy::Identity;
use crate::proxy::client::{Client, ConnectionSettings, RequestStart};
use crate::proxy::notes::Notes;
use crate::proxy::trace::Trace;
use crate::snapshot::stage::ResolvedEdits;
use crate::snapshot::{Route, Telemetry};

/// The record of an exchange in progress. Dropping it counts and logs the exchange; if its end was not recorded before,
/// it was [`abandoned`].
pub(crate) struct ExchangeLog {
    telemetry: Rc<Telemetry>,
    settings: Rc<ConnectionSettings>,
    began: Instant,
    route: Option<Arc<Route>>,
    status: u16,
    error: Option<Error>,
    /// The form in which the client gets errors.
    dialect: grpc::Dialect,
    /// The call, if the request is one of gRPC.
    call: Option<Rc<grpc::Record>>,
    received: u64,
    sent: u64,
    /// The nanoseconds from its beginning to its end, at least one, once the end is recorded. In a log of eight bytes more, one of each
    /// request's allocations is no small one any more, which costs 200 instructions.
    took: Option<NonZeroU64>,
    /// The filters that the exchange goes through.
    filters: Option<Rc<Session>>,
    /// The notes of policies, if there are any.
    notes: Option<Box<Notes>>,
    /// Present only if there is an access log, or the request is recorded for its trace.
    line: Option<Box<Line>>,
}

impl ExchangeLog {
    /// Begins the log of a request.
    pub(crate) fn begin(client: &Client, start: &RequestStart, request: &mut Request) -> Self {
        let mut log = Self::new(start);
        log.dialect = grpc::Dialect::of(&request.method, &request.headers);
        log.call = (log.dialect != grpc::Dialect::Http).then(Rc::default);
        let telemetry = start.snapshot.telemetry();
        let trace = telemetry.traces.as_ref().map(|traces| Trace::begin(traces, client, start, request));
        let is_recorded = trace.as_ref().is_some_and(Trace::is_recorded);
        log.line = (telemetry.access_log.is_some() || is_recorded).then(|| {
            let capture = telemetry.access_log.as_ref().map_or(&NO_FIELDS, AccessLog::capture);
            Line::of_request(capture, trace, start.client_ip(&request.headers), request)
        });
        log
    }

    /// Begins the log of bytes that were not a request.
    pub(crate) fn unreadable(client: &Client, start: &RequestStart) -> Self {
        let mut log = Self::new(start);
        let access_log = start.snapshot.telemetry().access_log.as_ref();
        log.line = access_log.map(|_| Line::of_unreadable(client.peer().ip()));
        log
    }

    fn new(start: &RequestStart) -> Self {
        Self {
            telemetry: start.snapshot.telemetry().clone(),
            settings: start.settings.clone(),
            began: clock::now(),
            route: None,
            status: 0,
            error: None,
            dialect: grpc::Dialect::Http,
            call: None,
            received: 0,
            sent: 0,
            took: None,
            filters: None,
            notes: None,
            line: None,
        }
    }

    /// Returns the time at which the exchange began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Records the route of the request.
    pub(crate) fn routed(&mut self, route: &Arc<Route>) {
        route.stats.begin(this_worker());
        self.route = Some(route.clone());
    }

    /// Returns the filters' work on the exchange, once they have begun.
    pub(crate) fn filters(&self) -> Option<Rc<Session>> {
        self.filters.clone()
    }

    /// Records the filters of the request, which are notified of its end.
    pub(crate) fn filtered(&mut self, filters: &Rc<Session>) {
        self.filters = Some(filters.clone());
    }

    /// Returns the caller of the request, if authentication knows it.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.notes.as_ref()?.identity()
    }

    /// Returns the notes of policies, if there are any.
    pub(crate) fn notes(&self) -> Option<&Notes> {
        self.notes.as_deref()
    }

    /// Returns the header edits that have the request's values.
    pub(crate) fn edits(&self) -> &ResolvedEdits {
        self.notes.as_ref().map_or(ResolvedEdits::NONE, |notes| &notes.edits)
    }

    /// Returns the identifier of the request, if its route gives it one.
    pub(crate) fn request_id(&self) -> Option<&HeaderValue> {
        self.notes.as_ref()?.request_id.as_ref()
    }

    /// Returns the notes of policies for one of them to add to.
    pub(crate) fn notes_mut(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// Records that the head of the upstream's response has arrived.
    pub(crate) fn first_byte(&mut self) {
        if let Some(line) = &mut self.line {
            line.first_byte = Some(clock::since(self.began));
        }
    }

    /// Returns the forms of a request by gRPC-Web, if its route translates it.
    pub(crate) fn translated(&self) -> Option<grpc::Web> {
        match (self.dialect, &self.route) {
            (grpc::Dialect::Web(web), Some(route)) => Some(web).filter(|_| route.stages.has_grpc_web()),
            _ => None,
        }
    }

    /// Returns true if the request is a call by gRPC or gRPC-Web.
    pub(crate) fn has_call(&self) -> bool {
        self.call.is_some()
    }

    /// Returns true for a call whose status is known at its end: one of gRPC, or one by gRPC-Web that the gateway translates or
    /// responds to itself.
    fn is_call(&self) -> bool {
        match self.dialect {
            grpc::Dialect::Http => false,
            grpc::Dialect::Grpc => true,
            grpc::Dialect::Web(_) => self.translated().is_some() || self.grpc_status().is_some(),
        }
    }

    /// Returns the status of a call, if the client got it.
    fn grpc_status(&self) -> Option<grpc::Status> {
        self.took.and_then(|_| self.call.as_ref()?.status())
    }

    /// Records the response to a call of gRPC, and later its trailers. The response is not in the form of gRPC-Web.
    pub(crate) fn observe(&self, response: &mut Response<Body>) {
        if let Some(call) = &self.call {
            call.observe(response);
        }
    }

    /// Records the response to the client. The status of a call by gRPC-Web is known from the stage that translates it.
    pub(crate) fn answered(&mut self, response: &mut Response<Body>) {
        self.status = response.status.as_u16();
        if self.dialect == grpc::Dialect::Grpc {
            self.observe(response);
        }
        self.finish(&mut response.headers);
    }

    /// Applies the last policies to the head of a response on its way to the client, and keeps what the access log shows of it.
    #[inline]
    fn finish(&mut self, headers: &mut Fields) {
        if let Some(notes) = &self.notes {
            notes.finish(headers);
        }
        if let (Some(line), Some(log)) = (&mut self.line, &self.telemetry.access_log) {
            line.capture_response(log.capture(), headers);
        }
    }

    /// Records the error that failed the request. Returns the response that reports it to the client.
    pub(crate) fn failed(&mut self, error: Error) -> Response<Body> {
        let mut response = self.failed_as(error, self.dialect);
        self.finish(&mut response.headers);
        response
    }

    /// Does the same as [`ExchangeLog::failed`] for a response that passes the filters, which see gRPC in place of gRPC-Web.
    pub(crate) fn failed_before_filters(&mut self, error: Error) -> Response<Body> {
        let is_translated = self.translated().is_some();
        self.failed_as(error, if is_translated { grpc::Dialect::Grpc } else { self.dialect })
    }

    /// Records the error that a policy's own response reports, if it does.
    pub(crate) fn reported(&mut self, error: Option<Error>) {
        self.error = error.or(self.error);
    }

    fn failed_as(&mut self, error: Error, dialect: grpc::Dialect) -> Response<Body> {
        let response = dialect.error_response(error);
        self.status = response.status.as_u16();
        self.error = Some(error);
        if let Some(call) = &self.call {
            call.failed(error);
        }
        self.warn(error);
        response
    }

    /// Warns of an upstream on plain HTTP that redirects an HTTPS request to the same URL, at most once in ten seconds
    /// for a route. `proto` is the `X-Forwarded-Proto` that the upstream was sent.
    pub(crate) fn redirected_back(&self, endpoint: &str, proto: Option<&HeaderValue>) {
        let Some(route) = &self.route else { return };
        let Some(suppressed) = route.warned.passes("location") else { return };
        let cure = match proto.map(HeaderValue::as_bytes) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => {
                "configure it to trust the `X-Forwarded-Proto: https` that it is sent"
            }
            _ => {
                "it is not sent `X-Forwarded-Proto: https` because the route's `headers.request` changes that field"
            }
        };
        let trace_id = self.trace_id().map(tracing::field::display);
        tracing::warn!(
            route = &*route.name,
            endpoint,
            suppressed,
            trace_id,
            "redirect loop: the upstream takes HTTPS requests for plain HTTP and redirects them to their own URL; {cure}"
        );
    }

    /// Returns the response to send instead of one that broke with `error` before any of it was sent, or `None` if the
    /// client gets no response.
    pub(crate) fn replace(&mut self, error: Error) -> Option<Response<Body>> {
        if error == Error::FilterAnswered {
            let mut response = self.filters.as_ref()?.take_local()?;
            if let Some(web) = self.translated() {
                self.observe(&mut response);
                response = web.response(response);
            }
            if let Some(route) = &self.route {
                route.stages.edit_replacement(self.edits(), &mut response.headers);
            }
            self.answered(&mut response);
            return Some(response);
        }
        if error.is_unsent() {
            return None;
        }
        Some(self.failed(error))
    }

    /// Ends the exchange with the bytes of body received and sent, and the error that cut it short.
    pub(crate) fn end(mut self, received: u64, sent: u64, error: Option<Error>) {
        self.received = received;
        self.sent = sent;
        if let Some(error) = error {
            self.error = Some(error);
            self.warn(error);
        }
        self.took = Some(NonZeroU64::new(nanos(clock::since(self.began))).unwrap_or(NonZeroU64::MIN));
    }

    /// Returns true if the request failed for a reason that lies behind the gateway or in it, and not with the client.
    fn is_failed(&self, grpc_status: Option<grpc::Status>) -> bool {
        let broke = || self.status < 400 && self.error.is_some_and(|error| !error.is_client_side());
        self.status >= 500 || broke() || grpc_status.is_some_and(grpc::Status::is_server_error)
    }

    /// Logs a rate-limited warning for failures that an operator should see.
    fn warn(&self, error: Error) {
        let name = self.route.as_ref().map_or("-", |route| &route.name);
        let warned = self.route.as_ref().map_or(&self.telemetry.warned, |route| &route.warned);
        if error.is_worth_a_warning()
            && let Some(suppressed) = warned.passes(error.reason())
        {
            let trace_id = self.trace_id().map(tracing::field::display);
            tracing::warn!(
                route = name,
                reason = error.reason(),
                suppressed,
                trace_id,
                "request failed: {error}"
            );
        }
    }
}

/// Returns the error of an exchange that was dropped before its end: its worker stops, or its client went away.
pub(crate) fn abandoned() -> Error {
    if is_cut_off() { Error::ShuttingDown } else { Error::ClientClosed }
}

impl Drop for ExchangeLog {
    fn drop(&mut self) {
        let mut logged_status = self.status;
        if self.took.is_none() {
            let error = *self.error.get_or_insert_with(abandoned);
            if error != Error::ShuttingDown {
                (self.status, logged_status) = (0, Error::ClientClosed.status().as_u16());
            }
        }
        let grpc_status = self.grpc_status();
        let total =
            self.took.map_or_else(|| clock::since(self.began), |took| Duration::from_nanos(took.get()));
        let reason = self.error.map(Error::reason);
        let stats = self.route.as_ref().map_or(&self.telemetry.unrouted, |route| &route.stats);
        if self.route.is_none() {
            stats.begin(this_worker());
        }
        stats.finish(this_worker(), self.status, total, self.received, self.sent, reason);
        if self.is_call() {
            stats.called(this_worker(), grpc_status.map_or("none", grpc::Status::name));
        }
        let filters = self.filters.take();
        if let Some(filters) = &filters {
            let (received, sent) = (self.received, self.sent);
            filters.end(End {
                status: self.status,
                grpc_status,
                received,
                sent,
                duration: total,
                error: reason,
            });
        }
        self.write_line(logged_status, grpc_status, total);
        if let Some(trace) = self.line.as_mut().and_then(|line| line.trace.take()) {
            self.record(trace, total, grpc_status, filters.as_deref());
        }
    }
}
