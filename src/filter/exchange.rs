//! One request and its response, as filters see and change them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use tokio::time::Instant;

use crate::http::body::Body;
use crate::http::error::{Error, FilterError};
use crate::http::fields::Fields;
use crate::http::message::Response;

/// Names and values of a header section, together, as a filter may make it.
pub(crate) const MAP_BYTES_MAX: usize = 1 << 20;

/// Bytes of properties that filters set on one exchange.
const PROPERTY_BYTES_MAX: usize = 64 * 1024;

/// A request and its response.
pub(crate) struct Exchange {
    pub(crate) request_info: RequestInfo,
    pub(crate) request: RefCell<RequestHead>,
    /// From the moment it is there.
    pub(crate) response: RefCell<Option<ResponseHead>>,
    pub(crate) request_trailers: RefCell<Option<Fields>>,
    pub(crate) response_trailers: RefCell<Option<Fields>>,
    /// What filters have set, by path; for each other and for themselves.
    properties: RefCell<BTreeMap<Box<[u8]>, Bytes>>,
    property_bytes: Cell<usize>,
    /// Which endpoint was tried last.
    upstream: RefCell<Option<Arc<str>>>,
    upstream_address: Cell<Option<SocketAddr>>,
    /// A filter's own answer.
    local: RefCell<Option<LocalResponse>>,
    /// When the request began, once somebody has asked.
    started: OnceCell<SystemTime>,
    /// What a filter wanted in place of the exchange's course, and cannot have.
    refused: Cell<Option<FilterError>>,
    closed: Cell<bool>,
    route_cleared: Cell<bool>,
    end: Cell<Option<End>>,
    /// Whoever polls the exchange.
    waker: RefCell<Option<Waker>>,
}

/// What does not change while a request is served.
pub(crate) struct RequestInfo {
    pub(crate) client: SocketAddr,
    /// The listener's address.
    pub(crate) local: SocketAddr,
    /// The number of the connection.
    pub(crate) connection: u64,
    pub(crate) tls: bool,
    pub(crate) version: Version,
    pub(crate) listener: Arc<str>,
    pub(crate) route: Arc<str>,
    /// Bytes of the request's body; `None` for no limit.
    pub(crate) request_bytes_max: Option<u64>,
    /// When the request began.
    pub(crate) began: Instant,
}

/// The head of a request.
#[derive(Clone)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// As the client wrote it.
    target: Uri,
    /// Path and query, where a filter has changed them.
    path: Option<String>,
    /// The host that is asked, with its port.
    pub(crate) authority: HeaderValue,
    pub(crate) scheme: &'static str,
    /// Without Host, which is the authority, and without Content-Length.
    pub(crate) headers: Fields,
    /// Content-Length as filters see it: what is sent is written from the body.
    pub(crate) length: Option<HeaderValue>,
}

/// The head of a response.
#[derive(Clone)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// Without Content-Length.
    pub(crate) headers: Fields,
    /// Content-Length as filters see it.
    pub(crate) length: Option<HeaderValue>,
}

/// An answer that a filter gives in place of what there is.
pub(crate) struct LocalResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Bytes,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// 0 where the client got none.
    pub(crate) status: u16,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
    /// The reason of a failure.
    pub(crate) error: Option<&'static str>,
}

impl RequestHead {
    pub(crate) fn new(
        method: Method,
        target: Uri,
        authority: HeaderValue,
        scheme: &'static str,
        mut headers: Fields,
    ) -> Self {
        headers.remove(header::HOST);
        Self { method, target, path: None, authority, scheme, headers, length: None }
    }

    /// In the place of a head that no filter looks at, or that has gone on.
    pub(crate) fn unseen(method: Method, scheme: &'static str) -> Self {
        let authority = const { HeaderValue::from_static("") };
        let (target, headers) = (Uri::default(), Fields::new());
        Self { method, target, path: None, authority, scheme, headers, length: None }
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        match &self.path {
            Some(path) => path,
            None => self.target.path_and_query().map_or("/", |path| path.as_str()),
        }
    }

    /// The head for whoever sends the request. It stays here as well where somebody will look at it.
    pub(super) fn take_for_upstream(&mut self, keeps: bool) -> Self {
        if keeps {
            return self.clone();
        }
        let unseen = Self::unseen(self.method.clone(), self.scheme);
        std::mem::replace(self, unseen)
    }

    pub(crate) fn set_path(&mut self, path: String) {
        self.path = Some(path);
    }

    /// Path and query where a filter has changed them.
    pub(crate) fn changed_path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

impl Exchange {
    pub(crate) fn new(request_info: RequestInfo, request: RequestHead) -> Self {
        Self {
            request_info,
            request: RefCell::new(request),
            response: RefCell::default(),
            request_trailers: RefCell::default(),
            response_trailers: RefCell::default(),
            properties: RefCell::default(),
            property_bytes: Cell::new(0),
            upstream: RefCell::default(),
            upstream_address: Cell::new(None),
            local: RefCell::default(),
            started: OnceCell::new(),
            refused: Cell::new(None),
            closed: Cell::new(false),
            route_cleared: Cell::new(false),
            end: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// When the request began, by the wall's clock.
    pub(crate) fn started(&self) -> SystemTime {
        *self.started.get_or_init(|| SystemTime::now() - self.request_info.began.elapsed())
    }

    /// Answers in place of whatever was to come. The first one counts.
    pub(crate) fn answer(&self, local: LocalResponse) {
        self.local.borrow_mut().get_or_insert(local);
        self.wake();
    }

    /// Returns true if a filter's answer is kept, so that a further one is not.
    pub(crate) fn is_answered(&self) -> bool {
        self.local.borrow().is_some()
    }

    /// Takes the answer. From then on the exchange goes on with it, so that whatever else has ended it no longer does.
    pub(super) fn take_answer(&self) -> Option<LocalResponse> {
        let local = self.local.borrow_mut().take()?;
        self.refused.set(None);
        self.closed.set(false);
        Some(local)
    }

    /// Gives the exchange up without an answer.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    /// Ends the exchange by an error, unless a filter answers it before it is looked at again. The first error counts.
    pub(super) fn refuse(&self, error: FilterError) {
        if self.refused.get().is_none() {
            self.refused.set(Some(error));
        }
        self.wake();
    }

    /// Succeeds unless the filters' own decision has ended the exchange.
    ///
    /// # Errors
    /// It has ended: by [`Error::FilterAnswered`] where a filter has an answer.
    pub(super) fn check_not_ended(&self) -> Result<(), Error> {
        if self.closed.get() {
            return Err(Error::FilterClosed);
        }
        if self.local.borrow().is_some() {
            return Err(Error::FilterAnswered);
        }
        self.refused.get().map_or(Ok(()), |error| Err(Error::Filter(error)))
    }

    /// The route is to be looked for again once the request's filters are done.
    pub(crate) fn clear_route(&self) {
        self.route_cleared.set(true);
    }

    pub(crate) fn is_route_cleared(&self) -> bool {
        self.route_cleared.get()
    }

    /// An endpoint is being tried.
    pub(crate) fn set_upstream(&self, url: &str, address: SocketAddr) {
        *self.upstream.borrow_mut() = Some(url.into());
        self.upstream_address.set(Some(address));
    }

    pub(crate) fn upstream(&self) -> Option<Arc<str>> {
        self.upstream.borrow().clone()
    }

    pub(crate) fn upstream_address(&self) -> Option<SocketAddr> {
        self.upstream_address.get()
    }

    /// What a filter has set at a path.
    pub(crate) fn property(&self, path: &[u8]) -> Option<Bytes> {
        self.properties.borrow().get(path).cloned()
    }

    /// Returns the bytes of all properties once one has a value of this length, or `None` if there is no room for it.
    pub(crate) fn property_bytes_with(&self, path: &[u8], length: usize) -> Option<usize> {
        let before = self.properties.borrow().get(path).map_or(0, |before| before.len() + path.len());
        let bytes = self.property_bytes.get() - before + path.len() + length;
        (bytes <= PROPERTY_BYTES_MAX).then_some(bytes)
    }

    /// Sets a property. `bytes` are those of all properties with it, by [`Exchange::property_bytes_with`].
    pub(crate) fn set_property(&self, path: &[u8], value: Bytes, bytes: usize) {
        self.property_bytes.set(bytes);
        self.properties.borrow_mut().insert(path.into(), value);
    }

    pub(super) fn ended(&self, end: End) {
        self.end.set(Some(end));
    }

    /// How it ended, once it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Remembers whom to wake.
    pub(super) fn waits(&self, cx: &Context<'_>) {
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl From<LocalResponse> for Response<Body> {
    fn from(local: LocalResponse) -> Self {
        Response { status: local.status, headers: local.headers, body: Body::full(local.body) }
    }
}
