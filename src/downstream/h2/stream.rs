//! The task of a stream: a request and its response.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, StatusCode, Version};

use super::body::StreamBody;
use super::respond::respond;
use super::shared::{OpenStream, Shared};
use super::tunnel::carry;
use crate::http::body::Body;
use crate::http::forward;
use crate::http::h2::{Code, RequestHead, StreamKey};
use crate::http::interim::Interim;
use crate::http::message::Request;
use crate::net::timer::{Stall, Timer};
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::reply::{Call, Reply};
use crate::proxy::serve;
use crate::snapshot::listener::ConnectionLimits;

/// Starts the task of a stream that a request has opened.
pub(super) fn start(shared: &Rc<Shared>, key: StreamKey, head: Box<RequestHead>) {
    shared.served.set(shared.served.get() + 1);
    shared.idle_since.set(None);
    let stream = Rc::new(OpenStream { shared: shared.clone(), key, received: Cell::new(0) });
    tokio::task::spawn_local(run(stream, head));
}

/// A part of a stream's work. It is in a box, because the task's own future is moved several times and should be small.
type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The beginning of a stream's work.
enum Begun<'a> {
    Serving(Work<'a, Reply>),
    /// Nothing is done for the request.
    Refused(Box<Reply>),
    Over,
}

async fn run(stream: Rc<OpenStream>, head: Box<RequestHead>) {
    let options = stream.shared.refresh();
    let (is_head, response_write) = (head.method == Method::HEAD, options.response_write);
    let timer = Timer::default();
    let finish = |reply| respond_or_carry(&stream, reply, is_head, response_write, &timer);
    let rest = match begin(&stream, head, &options, &timer) {
        Begun::Serving(answering) => served(&stream, answering, finish).await,
        Begun::Refused(reply) => finish(*reply),
        Begun::Over => None,
    };
    if let Some(rest) = rest {
        rest.await;
    }
}

/// Begins to serve a request.
fn begin<'a>(
    stream: &'a Rc<OpenStream>,
    head: Box<RequestHead>,
    options: &ConnectionLimits,
    timer: &Timer,
) -> Begun<'a> {
    let beyond = head.beyond;
    let mut request = request(stream, head, options, timer);
    let client = &stream.shared.client;
    if stream.is_reset() {
        // Nothing is done for it but a line in the log.
        drop(ExchangeLog::begin(client, &client.begin(), &mut request));
        return Begun::Over;
    }
    if let Some(error) = beyond {
        let reply = serve::refuse(error, ExchangeLog::begin(client, &client.begin(), &mut request));
        return Begun::Refused(Box::new(reply));
    }
    let is_first = stream.shared.served.get() == 1;
    let call = Call { timer: timer.clone(), interim: Some(Interim::new(stream.clone())), is_first };
    Begun::Serving(Box::pin(serve::serve(client, request, call)))
}

/// Returns the request as it is served.
fn request(
    stream: &Rc<OpenStream>,
    head: Box<RequestHead>,
    options: &ConnectionLimits,
    timer: &Timer,
) -> Request {
    // The data of an extended CONNECT is for the tunnel.
    let body = if head.protocol.is_some() || stream.shared.engine.borrow().is_taken(stream.key) {
        Body::Empty
    } else {
        let stall = Stall::new(options.request_body);
        let drops_unusual_fields = options.drops_unusual_fields;
        let body = StreamBody::new(stream.clone(), &head, stall, timer.clone(), drops_unusual_fields);
        Body::boxed(body)
    };
    let RequestHead { mut method, target, protocol, mut headers, .. } = *head;
    if options.drops_unusual_fields {
        headers.retain(|name, _| !forward::is_unusual(name));
    }
    if let Some(protocol) = &protocol {
        method = Method::GET;
        forward::set_upgrade(&mut headers, protocol.clone());
    }
    let protocol = protocol.map(Box::new);
    Request { method, target, version: Version::HTTP_2, headers, protocol, body }
}

/// Waits for the reply, and returns the work that it leaves. If the stream is reset before, the dropped log records that the client
/// has gone.
async fn served<'a>(
    stream: &OpenStream,
    mut answering: Work<'_, Reply>,
    finish: impl Fn(Reply) -> Option<Work<'a, ()>>,
) -> Option<Work<'a, ()>> {
    std::future::poll_fn(|cx| {
        stream.shared.register_stream(stream.key, cx);
        if let Poll::Ready(reply) = answering.as_mut().poll(cx) {
            return Poll::Ready(finish(reply));
        }
        if stream.is_reset() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// Returns the work that a reply leaves: sending a response, or the bytes of a tunnel.
fn respond_or_carry<'a>(
    stream: &'a Rc<OpenStream>,
    mut reply: Reply,
    is_head: bool,
    response_write: Option<Duration>,
    timer: &'a Timer,
) -> Option<Work<'a, ()>> {
    if let Reply { unsent: Some(_error), .. } = reply {
        // The dropped log records the reason.
        stream.reset(Code::INTERNAL_ERROR);
        return None;
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(tunnel)) = (reply.response.status, reply.tunnel.take()) {
        return Some(Box::pin(carry(stream, reply, tunnel)));
    }
    Some(Box::pin(respond(stream, reply, is_head, response_write, timer)))
}
