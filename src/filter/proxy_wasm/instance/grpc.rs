//! gRPC calls of an instance: their requests, and the callbacks for their replies.

use std::rc::{Rc, Weak};

use http::{StatusCode, Version};
use tokio::task::{spawn_local, yield_now};

use super::{Instance, count, tasks};
use crate::filter::proxy_wasm::grpc_calls::{End, GrpcEvent, Kind, OutgoingGrpcCall};
use crate::filter::proxy_wasm::host::ROOT;
use crate::filter::proxy_wasm::plugin::Plugin;
use crate::filter::proxy_wasm::services::CallableUpstream;
use crate::http::body::Body;
use crate::http::fields::Fields;
use crate::http::grpc::{self, Deframer, FramingError, Status};
use crate::http::{error::Error, forward};
use crate::net::clock;
use crate::net::timer::Timer;
use crate::upstream::{self, CallLimits, Received};

const INITIAL_METADATA: &str = "proxy_on_grpc_receive_initial_metadata";
const MESSAGE: &str = "proxy_on_grpc_receive";
const TRAILING_METADATA: &str = "proxy_on_grpc_receive_trailing_metadata";
const CLOSE: &str = "proxy_on_grpc_close";

/// Sends a call of the guest, unless the guest has already cancelled it.
pub(super) fn call(instance: &Rc<Instance>, call: OutgoingGrpcCall) {
    let token = call.token;
    if !tasks::is_live(instance) || instance.host(|host| host.grpc.is_open(token)) != Some(true) {
        return;
    }
    let plugin = instance.plugin.clone();
    let is_offline = plugin.services().played().is_some();
    if let Some(journal) = instance.journal().filter(|_| is_offline) {
        let (upstream, line) = (&call.upstream, call.request.line());
        journal.note(format!(
            "calls upstream `{upstream}` by gRPC: {line}; the call ends with UNAVAILABLE, because a run without a gateway answers no gRPC calls"
        ));
    }
    let callable = plugin.services().callable(&call.upstream).filter(|_| !is_offline);
    let replies = Replies { instance: Rc::downgrade(instance), token };
    let task = spawn_local(async move {
        let is_stream = matches!(call.kind, Kind::Stream(_));
        let end = match callable {
            Some(callable) => run(&replies, &plugin, &callable, call).await,
            None => Some(End::failed(Status::UNAVAILABLE, "the upstream cannot be called")),
        };
        if let Some(end) = end {
            replies.end(end, is_stream);
        }
    });
    instance.host(|host| host.grpc.attach(token, task.abort_handle()));
}

/// Sends a call and delivers its reply. Returns its end, or `None` if the guest no longer expects one.
async fn run(
    replies: &Replies,
    plugin: &Plugin,
    callable: &CallableUpstream,
    call: OutgoingGrpcCall,
) -> Option<End> {
    let timer = Timer::default();
    let (done_by, body) = match &call.kind {
        Kind::Unary(timeout) => (Some(clock::now() + *timeout), Body::full(call.request.body().clone())),
        Kind::Stream(messages) => {
            messages.limit_wait(callable.timeouts.idle, &timer);
            (None, messages.body())
        }
    };
    let limits = CallLimits {
        timeouts: &callable.timeouts,
        done_by,
        body_bytes_max: plugin.settings.body_bytes_max,
        keep_alive: callable.keep_alive,
        header_case: callable.header_case,
    };
    let whole = async {
        let received = upstream::open(&callable.upstream, &call.request, body, limits, &timer).await;
        let received = match received {
            Ok(received) if received.version == Version::HTTP_2 => received,
            Ok(_) => {
                plugin.calls_without_http2(&call.upstream);
                return Some(End::failed(Status::UNAVAILABLE, "the upstream does not speak HTTP/2"));
            }
            Err(error) => return Some(error.into()),
        };
        match &call.kind {
            Kind::Unary(_) => read_reply(received, limits.body_bytes_max).await,
            Kind::Stream(messages) => {
                messages.response_has_begun();
                read_replies(replies, received, limits.body_bytes_max).await
            }
        }
    };
    let end = timer.within(limits.ends_by(), whole).await;
    let end = end.unwrap_or_else(|_elapsed| Some(Error::RequestTimeout.into()))?;
    if end.status != Status::OK {
        let (filter, status) = (&*plugin.settings.name, end.status.name());
        tracing::debug!(
            filter,
            upstream = call.upstream,
            status,
            "a filter's gRPC call failed: {}",
            end.message
        );
    }
    Some(end)
}

/// Reads the reply to a unary call: one message and the trailers.
async fn read_reply(received: Received, message_bytes_max: usize) -> Option<End> {
    let Received { status, headers, body, .. } = received;
    if headers.contains_key(grpc::GRPC_STATUS) {
        return match End::of_trailers(headers) {
            end if end.status == Status::OK => {
                Some(End::failed(Status::INTERNAL, "the reply has no message"))
            }
            end => Some(end),
        };
    }
    if let Some(refusal) = refusal(status, &headers) {
        return Some(refusal);
    }
    let mut messages = ReplyMessages { body, deframer: Deframer::new(message_bytes_max) };
    let mut reply = None;
    loop {
        match messages.next().await {
            Ok(message) if reply.is_none() => reply = Some(message),
            Ok(_) => return Some(End::failed(Status::INTERNAL, "the reply has more than one message")),
            Err(end) if end.status != Status::OK => return Some(end),
            Err(_) if reply.is_none() => {
                return Some(End::failed(Status::INTERNAL, "the reply has no message"));
            }
            Err(end) => return Some(End { reply, ..end }),
        }
    }
}

/// Delivers the replies on a stream as they arrive.
async fn read_replies(replies: &Replies, received: Received, message_bytes_max: usize) -> Option<End> {
    let Received { status, headers, body, .. } = received;
    if headers.contains_key(grpc::GRPC_STATUS) {
        replies.initial_metadata(status, Fields::new())?;
        return Some(End::of_trailers(headers));
    }
    let refusal = refusal(status, &headers);
    replies.initial_metadata(status, headers)?;
    if refusal.is_some() {
        return refusal;
    }
    let mut messages = ReplyMessages { body, deframer: Deframer::new(message_bytes_max) };
    loop {
        match messages.next().await {
            Ok(message) => replies.message(message)?,
            Err(end) => return Some(end),
        }
        // A single frame may have thousands of messages, and the worker has requests to serve.
        yield_now().await;
    }
}

/// Returns the end of a call whose response is not one of gRPC.
fn refusal(status: StatusCode, headers: &Fields) -> Option<End> {
    if status != StatusCode::OK {
        return Some(End::failed(
            Status::of_http(status),
            format!("the response has status {}", status.as_u16()),
        ));
    }
    let is_grpc = grpc::is_grpc(headers);
    (!is_grpc)
        .then(|| End::failed(Status::UNKNOWN, "the response has another content-type than application/grpc"))
}

/// The messages of a response.
struct ReplyMessages {
    body: Body,
    deframer: Deframer,
}

impl ReplyMessages {
    /// Returns the next message.
    ///
    /// # Errors
    /// Returns the end of the call, with the status OK too.
    async fn next(&mut self) -> Result<bytes::Bytes, End> {
        loop {
            if let Some(message) = self.deframer.take().map_err(unreadable)? {
                return Ok(message);
            }
            let Some(frame) = self.body.frame().await else {
                return Err(End::of_trailers(Fields::new()));
            };
            match frame?.into_data() {
                Ok(data) => self.deframer.push(&data),
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    forward::filter_trailers(&mut trailers);
                    let end = End::of_trailers(trailers.into());
                    let is_cut = end.status == Status::OK && self.deframer.is_partial();
                    return Err(if is_cut {
                        End::failed(Status::INTERNAL, "a message is cut off")
                    } else {
                        end
                    });
                }
            }
        }
    }
}

fn unreadable(error: FramingError) -> End {
    let status = match error {
        FramingError::TooLarge => Status::RESOURCE_EXHAUSTED,
        FramingError::Compressed => Status::INTERNAL,
    };
    End::failed(status, error.to_string())
}

/// The way of replies to the guest. It does not keep the instance alive.
struct Replies {
    instance: Weak<Instance>,
    token: u32,
}

impl Replies {
    /// Delivers the metadata of a stream. Returns `None` if the guest no longer expects anything.
    fn initial_metadata(&self, status: StatusCode, fields: Fields) -> Option<()> {
        let length = count(fields.len() + 1);
        self.deliver(INITIAL_METADATA, GrpcEvent::InitialMetadata(status, fields), length)
    }

    fn message(&self, message: bytes::Bytes) -> Option<()> {
        let length = count(message.len());
        self.deliver(MESSAGE, GrpcEvent::Message(message), length)
    }

    fn trailing_metadata(&self, fields: Fields) -> Option<()> {
        let length = count(fields.len());
        self.deliver(TRAILING_METADATA, GrpcEvent::TrailingMetadata(fields), length)
    }

    /// Delivers the end of a call. A unary call has one callback: for its reply, or for the status without one.
    fn end(&self, end: End, is_stream: bool) {
        let Some(instance) = self.instance.upgrade() else { return };
        let End { status, message, trailers, reply } = end;
        instance.host(|host| {
            host.grpc.is_answered(self.token);
            host.grpc.status = (status.number(), message);
        });
        // The guest may cancel the call in one of these callbacks, so none of them must follow.
        let _cancelled = match reply {
            Some(reply) => self.message(reply),
            None if is_stream => self.trailing_metadata(trailers).and_then(|()| self.close(status)),
            None => self.close(status),
        };
        instance.host(|host| host.end_grpc(self.token));
    }

    fn close(&self, status: Status) -> Option<()> {
        self.deliver(CLOSE, GrpcEvent::Close, status.number().into())
    }

    /// Runs a callback, which all have the root context, the token and a number.
    fn deliver(&self, name: &'static str, event: GrpcEvent, number: u32) -> Option<()> {
        let instance = self.instance.upgrade()?;
        let exports = &instance.exports.grpc;
        let function = match event {
            GrpcEvent::InitialMetadata(..) => &exports.initial_metadata,
            GrpcEvent::Message(_) => &exports.message,
            GrpcEvent::TrailingMetadata(_) => &exports.trailing_metadata,
            GrpcEvent::Close => &exports.close,
        };
        let expects = instance.host(|host| {
            let is_open = host.grpc.is_open(self.token);
            host.grpc.event = is_open.then_some(event);
            is_open
        })?;
        if !expects {
            return None;
        }
        let parameters = (ROOT, self.token, number);
        let called = instance.call_or((), ROOT, name, function.as_ref(), parameters);
        instance.host(|host| host.grpc.event = None);
        called.ok()
    }
}
