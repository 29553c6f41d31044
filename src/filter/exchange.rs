//! One request and its response, as filters see and change them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use tokio::time::Instant;

use super::{ByDirection, HeadAccess};
use crate::config::SocketAddress;
use crate::http::body::Body;
use crate::http::error::{Error, FilterError};
use crate::http::fields::Fields;
use crate::http::grpc;
use crate::http::message::Response;
use crate::net::peer::Peer;
use crate::net::tls::ClientCertificate;
use crate::policy::Identity;

/// The most bytes of names and values in a header section that a filter may build.
pub(crate) const MAP_BYTES_MAX: usize = 1 << 20;

/// The most bytes of properties that filters may set on one exchange.
const PROPERTY_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct FilteredExchange {
    pub(crate) request_info: RequestInfo,
    pub(crate) request: RefCell<RequestHead>,
    /// `None` until the response arrives.
    pub(crate) response: RefCell<Option<ResponseHead>>,
    pub(crate) trailers: ByDirection<RefCell<Option<Fields>>>,
    /// Properties set by filters, by path. All filters of the exchange share them.
    properties: RefCell<BTreeMap<Box<[u8]>, Bytes>>,
    property_bytes: Cell<usize>,
    /// The endpoint that was tried last.
    upstream: RefCell<Option<Arc<str>>>,
    upstream_address: RefCell<Option<SocketAddress>>,
    /// A filter's own response.
    local: RefCell<Option<LocalResponse>>,
    /// The wall-clock time at which the request began, computed on first use.
    started: OnceCell<SystemTime>,
    /// The error that ends the exchange: a filter has closed it, or requested something invalid in place of the normal
    /// course. The first one wins, but closing wins over all.
    error: Cell<Option<Error>>,
    route_cleared: Cell<bool>,
    end: Cell<Option<End>>,
    /// The waker of the task that polls the exchange.
    waker: RefCell<Option<Waker>>,
}

/// Facts about a request that do not change while it is served.
pub(crate) struct RequestInfo {
    pub(crate) client: Peer,
    /// The listener's address.
    pub(crate) local: SocketAddress,
    pub(crate) connection: u64,
    pub(crate) tls: bool,
    /// The verified certificate of the client, if it has shown one.
    pub(crate) certificate: Option<Rc<ClientCertificate>>,
    /// The caller, if authentication knows it.
    pub(crate) identity: Option<Arc<Identity>>,
    /// The request's identifier, if the route gives requests one.
    pub(crate) request_id: Option<HeaderValue>,
    /// The fields of the request's trace, if traces are on, for requests that filters make.
    pub(crate) trace: Option<Box<Fields>>,
    /// The client's method. A filter may change that of the request.
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) listener: Arc<str>,
    pub(crate) route: Arc<str>,
    /// The most bytes of the request's body; `None` for no limit.
    pub(crate) request_bytes_max: Option<u64>,
    /// The time at which the request began.
    pub(crate) began: Instant,
}

#[derive(Clone)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// The target as the client wrote it.
    target: Uri,
    /// Path and query, if a filter has changed them.
    path: Option<String>,
    /// The requested host with its port.
    pub(crate) authority: HeaderValue,
    pub(crate) scheme: &'static str,
    /// The fields without Host, which is `authority`, and without Content-Length.
    pub(crate) headers: Fields,
    /// The Content-Length that filters see. The one that is sent is derived from the body.
    pub(crate) length: Option<HeaderValue>,
}

#[derive(Clone)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// The fields without Content-Length.
    pub(crate) headers: Fields,
    /// The Content-Length that filters see.
    pub(crate) length: Option<HeaderValue>,
}

/// A response that a filter sends in place of the upstream's.
pub(crate) struct LocalResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: Fields,
    pub(crate) body: Bytes,
}

/// The outcome of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The status, or 0 if the client got no response.
    pub(crate) status: u16,
    /// The status of a call of gRPC, if the client got it.
    pub(crate) grpc_status: Option<grpc::Status>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
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

    /// Creates a placeholder for a head that no filter reads, or that has been sent on.
    pub(crate) fn unseen(method: Method, scheme: &'static str) -> Self {
        let authority = const { HeaderValue::from_static("") };
        let (target, headers) = (Uri::default(), Fields::new());
        Self { method, target, path: None, authority, scheme, headers, length: None }
    }

    /// Returns path and query.
    pub(crate) fn path(&self) -> &str {
        match &self.path {
            Some(path) => path,
            None => self.target.path_and_query().map_or("/", |path| path.as_str()),
        }
    }

    /// Returns the head to send upstream. A copy stays here for filters that may still read it.
    pub(super) fn take_for_upstream(&mut self, access: HeadAccess) -> Self {
        if access == HeadAccess::Always {
            return self.clone();
        }
        let unseen = Self::unseen(self.method.clone(), self.scheme);
        std::mem::replace(self, unseen)
    }

    pub(crate) fn set_path(&mut self, path: String) {
        self.path = Some(path);
    }

    /// Returns path and query if a filter has changed them.
    pub(crate) fn changed_path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

impl FilteredExchange {
    pub(crate) fn new(request_info: RequestInfo, request: RequestHead) -> Self {
        Self {
            request_info,
            request: RefCell::new(request),
            response: RefCell::default(),
            trailers: ByDirection::default(),
            properties: RefCell::default(),
            property_bytes: Cell::new(0),
            upstream: RefCell::default(),
            upstream_address: RefCell::new(None),
            local: RefCell::default(),
            started: OnceCell::new(),
            error: Cell::new(None),
            route_cleared: Cell::new(false),
            end: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// Returns the wall-clock time at which the request began.
    pub(crate) fn started(&self) -> SystemTime {
        *self.started.get_or_init(|| SystemTime::now() - self.request_info.began.elapsed())
    }

    /// Responds in place of the normal course. The first response wins.
    pub(crate) fn answer(&self, local: LocalResponse) {
        self.local.borrow_mut().get_or_insert(local);
        self.wake();
    }

    /// Returns true if a filter's response is stored, so that a further one would be ignored.
    pub(crate) fn is_answered(&self) -> bool {
        self.local.borrow().is_some()
    }

    /// Takes the filter's response. The exchange then continues with it, so earlier reasons to end it no longer apply.
    pub(super) fn take_answer(&self) -> Option<LocalResponse> {
        let local = self.local.borrow_mut().take()?;
        self.error.set(None);
        Some(local)
    }

    /// Ends the exchange without a response.
    pub(crate) fn close(&self) {
        self.error.set(Some(Error::FilterClosed));
        self.wake();
    }

    /// Ends the exchange with an error, unless a filter responds before the exchange is checked again. The first error
    /// wins.
    pub(super) fn refuse(&self, error: FilterError) {
        if self.error.get().is_none() {
            self.error.set(Some(Error::Filter(error)));
        }
        self.wake();
    }

    /// Succeeds unless a filter's decision has ended the exchange.
    ///
    /// # Errors
    /// Fails if the exchange has ended: with [`Error::FilterAnswered`] if a filter has a response.
    pub(super) fn check_not_ended(&self) -> Result<(), Error> {
        match self.error.get() {
            Some(Error::FilterClosed) => Err(Error::FilterClosed),
            _ if self.is_answered() => Err(Error::FilterAnswered),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Requests that the route be matched again once the request's filters are done.
    pub(crate) fn clear_route(&self) {
        self.route_cleared.set(true);
    }

    pub(crate) fn is_route_cleared(&self) -> bool {
        self.route_cleared.get()
    }

    /// Records the endpoint that is being tried.
    pub(crate) fn set_upstream(&self, url: &Arc<str>, address: &SocketAddress) {
        *self.upstream.borrow_mut() = Some(url.clone());
        *self.upstream_address.borrow_mut() = Some(address.clone());
    }

    pub(crate) fn upstream(&self) -> Option<Arc<str>> {
        self.upstream.borrow().clone()
    }

    pub(crate) fn upstream_address(&self) -> Option<SocketAddress> {
        self.upstream_address.borrow().clone()
    }

    /// Returns the value that a filter has set at a path.
    pub(crate) fn property(&self, path: &[u8]) -> Option<Bytes> {
        self.properties.borrow().get(path).cloned()
    }

    /// Returns the total bytes of all properties once `path` has a value of this length, or `None` if there is no room
    /// for it.
    pub(crate) fn property_bytes_with(&self, path: &[u8], length: usize) -> Option<usize> {
        let before = self.properties.borrow().get(path).map_or(0, |before| before.len() + path.len());
        let bytes = self.property_bytes.get() - before + path.len() + length;
        (bytes <= PROPERTY_BYTES_MAX).then_some(bytes)
    }

    /// Sets a property. `bytes` is the new total of all properties, as returned by
    /// [`FilteredExchange::property_bytes_with`].
    pub(crate) fn set_property(&self, path: &[u8], value: Bytes, bytes: usize) {
        self.property_bytes.set(bytes);
        self.properties.borrow_mut().insert(path.into(), value);
    }

    pub(super) fn ended(&self, end: End) {
        self.end.set(Some(end));
    }

    /// Returns the outcome, once the exchange has ended.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Remembers the task to wake.
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
