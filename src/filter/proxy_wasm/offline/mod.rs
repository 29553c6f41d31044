//! A plugin without a gateway: a made-up exchange passes through it as it would on a worker.

pub(crate) mod journal;
pub(crate) mod played;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::{Frame, SizeHint};
use tokio::task::yield_now;

use super::instance::Instance;
use super::local::{forget, place};
use super::log::Sink;
use super::plugin::{LinkedModule, Plugin};
use super::plugins::open;
use super::services::Services;
use crate::config::load::files::{FileMark, Files};
use crate::config::{FilterSettings, WasmCache};
use crate::filter::engine::runtime::Allocation;
use crate::filter::proxy_wasm::module::link;
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::proxy_wasm::offline::played::PlayedUpstreams;
use crate::filter::{Chain, End, RequestHead, RequestInfo, Session};
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::message::may_have_body;
use crate::http::{forward, message};
use crate::net::timer::Timer;

/// The number of times that the plugin's background work runs at the end of an exchange: for calls that nothing waits
/// for, and for further calls that their responses cause.
const TURNS: usize = 16;

/// A module, ready to be started.
pub(crate) struct OfflineModule {
    services: Arc<Services>,
    module: Arc<LinkedModule>,
    mark: FileMark,
}

/// A running plugin of this thread. The thread must be in a `LocalRuntime`.
pub(crate) struct Offline {
    instance: Rc<Instance>,
    journal: Rc<Journal>,
}

/// Both messages of an exchange, as the client and the upstream send them.
pub(crate) struct OfflineExchange {
    /// The request: its target in origin form, its host in a field.
    pub(crate) request: Request<ChunkedBody>,
    pub(crate) response: Response<ChunkedBody>,
}

pub(crate) struct Outcome {
    /// The request that is sent upstream; `None` if the exchange ended before.
    pub(crate) request: Option<Request<Bytes>>,
    /// The response that the client gets, as far as it arrived.
    pub(crate) response: Response<Bytes>,
    /// The error that replaced the response or cut it short.
    pub(crate) error: Option<Error>,
}

impl OfflineModule {
    /// Compiles a module, or takes it from the cache. `upstreams` respond to its calls.
    pub(crate) fn new(wasm: &[u8], cache: &WasmCache, upstreams: PlayedUpstreams) -> Result<Self, String> {
        let (services, files, path) = (Arc::new(Services::offline(upstreams)), Files::new(), Path::new(""));
        files.give(path, wasm);
        let module = link(wasm, Allocation::OnDemand, &services.engines, open(cache).as_ref());
        Ok(Self { module: module.map_err(|error| error.to_string())?, services, mark: files.mark(path) })
    }

    /// Returns the upstreams that respond to the module's calls.
    pub(crate) fn upstreams(&self) -> &PlayedUpstreams {
        &self.services.played
    }

    /// Starts the plugin and records what it does.
    ///
    /// # Errors
    /// Fails if the plugin does not start. The journal has the reason.
    pub(crate) fn start(&self, settings: FilterSettings, journal: &Rc<Journal>) -> Result<Offline, ()> {
        let plugin = Plugin::new(settings, self.mark, self.module.clone(), &self.services);
        let instance = Instance::start(&plugin, Sink::Kept(journal.clone()));
        let instance = instance.map_err(|error| journal.fault(error.fault, error.what))?;
        place(&instance);
        journal.started();
        Ok(Offline { instance, journal: journal.clone() })
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        forget(&self.instance.plugin);
    }
}

impl Offline {
    /// Takes an exchange through the plugin.
    pub(crate) async fn exchange(&self, given: OfflineExchange) -> Outcome {
        let began = Instant::now();
        let (parts, body) = given.request.into_parts();
        let session = Session::new(request_info(parts.method.clone()), head_of(&parts));
        let mut outcome = Outcome { request: None, response: Response::new(Bytes::new()), error: None };
        let received = body.left();
        // With one filter, there is always a chain.
        if let Some(chain) = Chain::new(vec![self.instance.plugin.clone()]) {
            let passed = pass(&session, &chain, body, given.response, &mut outcome).await;
            if let Err(error) = passed {
                let local = session.local_response(&Timer::default()).await;
                let ended = local.unwrap_or(Err(error));
                outcome.error = ended.as_ref().err().copied();
                let response = ended.unwrap_or_else(Into::into);
                outcome.response = collected(response, &mut outcome.error).await;
            }
        }
        take_turns().await;
        session.end(End {
            status: outcome.response.status().as_u16(),
            // The head or the trailers that filters see have it.
            grpc_status: None,
            received,
            sent: outcome.response.body().len() as u64,
            duration: began.elapsed(),
            error: outcome.error.map(Error::reason),
        });
        take_turns().await;
        // A context that waits for something else would be released by its deadline, and would keep its instance until
        // then.
        self.instance.finish_all();
        self.journal.leaves(None, None);
        outcome
    }
}

/// Does the same as `proxy::filters`, with an upstream that responds at once.
async fn pass(
    session: &Session,
    chain: &Chain,
    body: ChunkedBody,
    response: Response<ChunkedBody>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let timer = Timer::default();
    session.begin(chain)?;
    let (head, mut body) = session.request(body.into(), &timer).await?;
    let mut sent = BytesMut::new();
    read(&mut body, &mut sent).await?;
    outcome.request = Some(as_sent(&head, sent.freeze()));
    let (parts, mut body) = response.into_parts();
    let (status, mut headers) = (parts.status, Fields::from(parts.headers));
    body.has_length &= !headers.contains_key(header::TRANSFER_ENCODING);
    forward::remove_hop_by_hop(&mut headers);
    if session.exchange.request_info.method == Method::HEAD || !may_have_body(status) {
        body = ChunkedBody::default();
    } else {
        // The body itself has the length.
        headers.remove(header::CONTENT_LENGTH);
    }
    let response = message::Response { status, headers, body: body.into() };
    let response = session.response(response, &timer).await?;
    outcome.response = collected(response, &mut outcome.error).await;
    Ok(())
}

async fn take_turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

fn request_info(method: Method) -> RequestInfo {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    RequestInfo {
        client: local(40000).into(),
        local: local(8080).into(),
        connection: 1,
        tls: false,
        certificate: None,
        identity: None,
        request_id: None,
        trace: None,
        method,
        version: Version::HTTP_11,
        listener: "offline".into(),
        request_bytes_max: None,
        route: "offline".into(),
        began: tokio::time::Instant::now(),
    }
}

fn head_of(parts: &http::request::Parts) -> RequestHead {
    let authority = parts.headers.get(header::HOST).cloned();
    let authority = authority.unwrap_or(const { HeaderValue::from_static("localhost") });
    RequestHead::new(parts.method.clone(), parts.uri.clone(), authority, "http", parts.headers.clone().into())
}

/// Builds a request as it is sent upstream.
fn as_sent(head: &RequestHead, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    // Filters cannot set an invalid target.
    *request.uri_mut() = head.path().parse().unwrap_or_default();
    request.headers_mut().insert(header::HOST, head.authority.clone());
    request.headers_mut().extend(HeaderMap::from(head.headers.clone()));
    request
}

/// Reads the body of a response as far as it arrives, and records the error that ends it.
async fn collected(response: message::Response<Body>, error: &mut Option<Error>) -> Response<Bytes> {
    let message::Response { status, headers, mut body } = response;
    let mut data = BytesMut::new();
    *error = read(&mut body, &mut data).await.err().or(*error);
    message::Response { status, headers, body: data.freeze() }.into()
}

async fn read(body: &mut Body, into: &mut BytesMut) -> Result<(), Error> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            into.extend_from_slice(data);
        }
    }
    Ok(())
}

/// A body that is in memory and arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct ChunkedBody {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// True if the length is known from the beginning.
    has_length: bool,
}

impl ChunkedBody {
    /// Splits bytes into `count` pieces of about the same size, none of them empty.
    pub(crate) fn of(bytes: &Bytes, count: usize) -> Self {
        let count = count.clamp(1, bytes.len().max(1));
        let border = |index: usize| bytes.len() * index / count;
        let data = (0..count).map(|index| bytes.slice(border(index)..border(index + 1)));
        Self { data: data.filter(|piece| !piece.is_empty()).collect(), trailers: None, has_length: true }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn with_trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self.has_length = false;
        self
    }

    fn left(&self) -> u64 {
        self.data.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl From<ChunkedBody> for Body {
    fn from(pieces: ChunkedBody) -> Self {
        if pieces.is_end_stream() { Body::Empty } else { Body::boxed(pieces) }
    }
}

impl Streaming for ChunkedBody {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> PollFrame {
        let next = self.data.pop_front().map(Frame::data);
        let next = next.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(self.left()) } else { SizeHint::default() }
    }
}
