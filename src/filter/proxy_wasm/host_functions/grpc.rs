//! gRPC calls of a plugin to configured upstreams.
//!
//! The statuses are those of the specification. They matter: the SDK for Rust panics at any other.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};

use super::calls::trace_of;
use super::maps;
use crate::config::UpstreamProtocol;
use crate::filter::MAP_BYTES_MAX;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status};
use crate::filter::proxy_wasm::calls::call_timeout;
use crate::filter::proxy_wasm::grpc_calls::{Kind, Messages, OutgoingGrpcCall};
use crate::filter::proxy_wasm::host::{Effect, Host};
use crate::filter::proxy_wasm::memory::{At, Guest, Out, Slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::http::grpc;
use crate::upstream::OwnRequest;

/// Hints for the author of a plugin, by the status of a call that did not begin.
const PARSE_ADVICE: &str = "the upstream is unknown, or the service, the method or the metadata is malformed";
const LIMIT_ADVICE: &str =
    "the message, the metadata or the number of calls exceeds a limit, or the upstream has no `protocol: h2`";

/// The destination of a call, in the guest's memory.
struct Destination {
    upstream: Slice,
    service: Slice,
    method: Slice,
    metadata: Slice,
}

#[expect(clippy::too_many_arguments, reason = "the ABI has that many parameters")]
pub(super) fn call(
    caller: &mut Guest<'_>,
    upstream: Slice,
    service: Slice,
    method: Slice,
    metadata: Slice,
    message: Slice,
    timeout: u32,
    token_at: At<u32>,
) -> Answer {
    let destination = Destination { upstream, service, method, metadata };
    let timeout = call_timeout(timeout);
    let begun = begin(caller, &destination, Some((message, timeout)), token_at);
    note_failure(caller.data(), "proxy_grpc_call", &begun);
    begun
}

pub(super) fn stream(
    caller: &mut Guest<'_>,
    upstream: Slice,
    service: Slice,
    method: Slice,
    metadata: Slice,
    token_at: At<u32>,
) -> Answer {
    let destination = Destination { upstream, service, method, metadata };
    let begun = begin(caller, &destination, None, token_at);
    note_failure(caller.data(), "proxy_grpc_stream", &begun);
    begun
}

/// Sends a message on a stream, an empty one too. A full queue is `BadArgument`, one of the two failures that the specification has.
pub(super) fn send(caller: &mut Guest<'_>, token: u32, message: Slice, end_stream: u32) -> Answer {
    let (memory, host) = split(caller)?;
    let message = message.of(memory)?;
    let messages = host.grpc.messages(token)?.ok_or(Status::BadArgument)?.clone();
    if message.len() > host.plugin.settings.body_bytes_max {
        return Err(Status::BadArgument.into());
    }
    let held = host.holds(message.len()).map_err(|_| Status::BadArgument)?;
    if !messages.push(grpc::framed(message), held) {
        return Err(Status::BadArgument.into());
    }
    if end_stream != 0 {
        messages.end();
    }
    Ok(())
}

/// Ends a call without a callback.
pub(super) fn cancel(caller: &mut Guest<'_>, token: u32) -> Answer {
    if caller.data_mut().end_grpc(token) { Ok(()) } else { Err(Status::NotFound.into()) }
}

/// Ends the guest's side of a stream; the other side continues. A unary call has no such side, so it is cancelled.
pub(super) fn close(caller: &mut Guest<'_>, token: u32) -> Answer {
    if let Some(messages) = caller.data().grpc.messages(token)? {
        messages.end();
        return Ok(());
    }
    cancel(caller, token)
}

/// Writes the status by which a call has ended last. Before the first one it is OK.
pub(super) fn status(caller: &mut Guest<'_>, code_at: At<u32>, message_out: Out) -> Answer {
    let (code, message) = caller.data().grpc.status.clone();
    code_at.write(caller, code.into())?;
    message_out.give(caller, message.as_bytes())
}

fn note_failure(host: &Host, function: &str, begun: &Answer) {
    if let (Err(Failure::Status(status)), Some(journal)) = (begun, host.log.journal()) {
        let advice = if *status == Status::ParseFailure { PARSE_ADVICE } else { LIMIT_ADVICE };
        journal.note(format!("`{function}` returns {status:?}: {advice}"));
    }
}

/// Begins a call with a message and a time, or else a stream.
fn begin(
    caller: &mut Guest<'_>,
    destination: &Destination,
    unary: Option<(Slice, Duration)>,
    token_at: At<u32>,
) -> Answer {
    let (upstream, request, held, bytes_max) = {
        let (memory, host) = split(caller)?;
        let upstream = destination.upstream.of(memory)?;
        let [service, method] = [destination.service.of(memory)?, destination.method.of(memory)?];
        let metadata = destination.metadata.of(memory)?;
        let message = unary.map(|(message, _)| message.of(memory)).transpose()?;
        let upstream = upstream_of(host, upstream)?;
        let message_bytes = message.map_or(0, <[u8]>::len);
        let bytes_max = host.plugin.settings.body_bytes_max;
        if metadata.len() > MAP_BYTES_MAX || message_bytes > bytes_max {
            return Err(Status::InternalFailure.into());
        }
        let target = target(service, method).ok_or(Status::ParseFailure)?;
        let timeout = unary.map(|(_, timeout)| timeout);
        let body = message.map(grpc::framed).unwrap_or_default();
        let request = request(target, metadata, timeout, body).ok_or(Status::ParseFailure)?;
        let request = request.of_trace(trace_of(host.filter_context()));
        let held = host.holds(upstream.len() + metadata.len() + message_bytes)?;
        (upstream, request, held, bytes_max)
    };
    // Check that the token can be written: without it the guest could not recognise the reply.
    token_at.write(caller, 0)?;
    let kind =
        unary.map_or_else(|| Kind::Stream(Messages::new(bytes_max)), |(_, timeout)| Kind::Unary(timeout));
    let messages = if let Kind::Stream(messages) = &kind { Some(messages.clone()) } else { None };
    let token = caller.data_mut().begin_grpc(messages).ok_or(Status::InternalFailure)?;
    token_at.write(caller, token)?;
    let call = OutgoingGrpcCall { token, upstream, request, kind, _held: held };
    caller.data_mut().leave(Effect::Grpc(Box::new(call)));
    Ok(())
}

/// Returns the name of the upstream that a call goes to.
fn upstream_of(host: &Host, bytes: &[u8]) -> Answer<String> {
    let name = cluster_name(bytes).unwrap_or(bytes);
    let name = std::str::from_utf8(name).map_err(|_| Status::ParseFailure)?;
    if !host.plugin.can_call(name) {
        host.plugin.calls_unknown_upstream(name);
        return Err(Status::ParseFailure.into());
    }
    let callable = host.plugin.services().callable(name);
    if callable.is_some_and(|callable| callable.protocol == UpstreamProtocol::H1) {
        host.plugin.calls_without_http2(name);
        return Err(Status::InternalFailure.into());
    }
    Ok(name.to_owned())
}

/// Returns `envoy_grpc.cluster_name` of a serialized `GrpcService`, which plugins for Envoy may pass in place of a name. The message
/// begins with this field; no name of an upstream begins with its tag, a line feed.
fn cluster_name(service: &[u8]) -> Option<&[u8]> {
    let envoy_grpc = first_field(service)?;
    first_field(envoy_grpc)
}

/// Returns the value of field 1 at the beginning of a message of Protocol Buffers, if it is bytes and shorter than 128 of them.
fn first_field(message: &[u8]) -> Option<&[u8]> {
    const TAG: u8 = 0x0a; // field 1, bytes
    let (&[TAG, length @ 0..128], rest) = message.split_first_chunk::<2>()? else { return None };
    rest.get(..usize::from(length))
}

/// Returns the path of a method, or `None` if its parts are no names.
fn target(service: &[u8], method: &[u8]) -> Option<String> {
    let name = |bytes: &[u8]| -> Option<String> {
        let is_name = |byte: &u8| byte.is_ascii_graphic() && !b"/?#".contains(byte);
        (!bytes.is_empty() && bytes.iter().all(is_name)).then(|| String::from_utf8_lossy(bytes).into_owned())
    };
    Some(format!("/{}/{}", name(service)?, name(method)?))
}

fn request(target: String, metadata: &[u8], timeout: Option<Duration>, body: Bytes) -> Option<OwnRequest> {
    let mut headers = maps::fields(&pairs::read(metadata)?)?;
    if !grpc::is_grpc(&headers) {
        headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    }
    if let Some(timeout) = timeout {
        headers.insert(grpc::GRPC_TIMEOUT, grpc::timeout_value(timeout));
    }
    Some(OwnRequest::new(Method::POST, target, headers, body)?.accepting_trailers())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_name_is_read_from_a_grpc_service() {
        for (bytes, name) in [
            (&b"\x0a\x06\x0a\x04side"[..], Some(&b"side"[..])),
            (b"\x0a\x09\x0a\x04side\x12\x01a\x1a\x02\x08\x01", Some(b"side")),
            (b"\x0a\x06\x0a\x05side", None),
            (b"\x0a\x07\x0a\x04side", None),
            (b"\x12\x06\x0a\x04side", None),
            (b"\x0a\x86\x0a\x04side", None),
            (b"\x0a", None),
            (b"side", None),
            (b"", None),
        ] {
            assert_eq!(cluster_name(bytes), name, "{bytes:?}");
        }
    }

    #[test]
    fn target_of_a_call_has_its_service_and_method() {
        assert_eq!(target(b"shop.Orders", b"Get").as_deref(), Some("/shop.Orders/Get"));
        for (service, method) in
            [("", "Get"), ("a", ""), ("a/b", "Get"), ("a", "Get?b"), ("a b", "Get"), ("a", "b#c")]
        {
            assert_eq!(target(service.as_bytes(), method.as_bytes()), None, "{service} {method}");
        }
    }
}
