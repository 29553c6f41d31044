//! The task of a stream: a request and its response.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

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

/// Starts the task of a stream that a request has opened.
pub(super) fn start(shared: &Rc<Shared>, key: StreamKey, head: Box<RequestHead>) {
    shared.served.set(shared.served.get() + 1);
    shared.idle_since.set(None);
    let stream = Rc::new(OpenStream { shared: shared.clone(), key, received: Cell::new(0) });
    tokio::task::spawn_local(run(stream, head));
}

async fn run(stream: Rc<OpenStream>, head: Box<RequestHead>) {
    let options = stream.shared.refresh();
    let timer = Timer::default();
    let is_head = head.method == Method::HEAD;
    let beyond = head.beyond;
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
    let request = Request { method, target, version: Version::HTTP_2, headers, protocol, body };
    let client = stream.shared.client.clone();
    if stream.is_reset() {
        // Nothing is done for it but a line in the log.
        return drop(ExchangeLog::begin(&client, &client.begin(), &request));
    }
    if let Some(error) = beyond {
        let reply = serve::refuse(error, ExchangeLog::begin(&client, &client.begin(), &request));
        return respond(&stream, reply, is_head, options.response_write, &timer).await;
    }
    let call = Call { timer: timer.clone(), interim: Some(Interim::new(stream.clone())) };
    let reply = {
        let mut answering = Box::pin(serve::serve(&client, request, call));
        std::future::poll_fn(|cx| {
            stream.shared.register_stream(stream.key, cx);
            if let Poll::Ready(reply) = answering.as_mut().poll(cx) {
                return Poll::Ready(Some(reply));
            }
            // The dropped log records that the client has gone.
            if stream.is_reset() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    };
    let Some(mut reply) = reply else { return };
    if let Reply { unsent: Some(_error), .. } = reply {
        // The dropped log records the reason.
        return stream.reset(Code::INTERNAL_ERROR);
    }
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(tunnel)) = (reply.response.status, reply.tunnel.take()) {
        // Boxed, because few streams are tunnels.
        return Box::pin(carry(&stream, reply, tunnel)).await;
    }
    respond(&stream, reply, is_head, options.response_write, &timer).await;
}
