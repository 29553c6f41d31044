//! Control of an exchange: continuing it, closing it, sending a local response, and selecting its context.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::maps;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status, StreamKind, grpc_status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{Guest, Slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Direction, Fault, FilterContext, LocalResponse, MAP_BYTES_MAX};
use crate::http::grpc;

/// The bytes that the body of a local response may always have, even if `limits.body` is lower.
const LOCAL_BODY_BYTES: usize = 1 << 20;

fn context(host: &Host) -> Answer<&FilterContext> {
    Ok(host.filter_context().map(|context| &**context).ok_or(Status::BadArgument)?)
}

pub(super) fn proceed(caller: &mut Guest<'_>, stream: StreamKind) -> Answer {
    match stream {
        StreamKind::Message(direction) => proceed_with(caller.data(), direction),
        StreamKind::Tcp => Err(Status::Unimplemented.into()),
    }
}

pub(super) fn proceed_request(caller: &mut Guest<'_>) -> Answer {
    proceed_with(caller.data(), Direction::Request)
}

pub(super) fn proceed_response(caller: &mut Guest<'_>) -> Answer {
    proceed_with(caller.data(), Direction::Response)
}

fn proceed_with(host: &Host, direction: Direction) -> Answer {
    context(host)?.release(direction);
    Ok(())
}

/// Closes the exchange, even if the stream number is unknown: the plugin gives the exchange up, and a wrong number must
/// not make the client wait for the end of a pause. As in other hosts, the sides of TCP filters do not concern an
/// exchange.
pub(super) fn close(caller: &mut Guest<'_>, stream: u32) -> Answer {
    let kind = StreamKind::from_number(stream);
    if kind == Some(StreamKind::Tcp) {
        return Err(Status::Unimplemented.into());
    }
    context(caller.data())?.exchange.close();
    if kind.is_some() { Ok(()) } else { Err(Status::BadArgument.into()) }
}

pub(super) fn set_effective_context(caller: &mut Guest<'_>, context: u32) -> Answer {
    if caller.data_mut().set_effective(context) { Ok(()) } else { Err(Status::BadArgument.into()) }
}

pub(super) fn done(caller: &mut Guest<'_>) -> Answer {
    if caller.data_mut().done() { Ok(()) } else { Err(Status::NotFound.into()) }
}

/// Responds to the exchange. An invalid response ends the exchange too, with an error: the plugin does not want it to
/// continue, and probably holds it back in the belief that the client has its response.
pub(super) fn respond(
    caller: &mut Guest<'_>,
    status: u32,
    details: Slice,
    body: Slice,
    headers: Slice,
    grpc_status: i32,
) -> Answer {
    context(caller.data())?;
    let (memory, host) = split(caller)?;
    let local = local_response(memory, host, status, [details, body, headers], grpc_status)?;
    if let Some(journal) = host.log.journal() {
        journal.note(format!("sends a local response: {}", local.status));
    }
    context(host)?.exchange.answer(local);
    Ok(())
}

fn local_response(
    memory: &[u8],
    host: &Host,
    status_number: u32,
    [details, body, headers]: [Slice; 3],
    grpc_number: i32,
) -> Answer<LocalResponse> {
    let refuse = |status: Status, what: String| {
        host.refuse(Fault::Response, &format!("it sent an invalid local response: {what}"));
        Failure::from(status)
    };
    let bad = |what: String| refuse(Status::BadArgument, what);
    let part = |name: &str, part: Slice| {
        let Slice { pointer, length } = part;
        let beyond = || format!("its {name} of {length} bytes at {pointer} is outside of its memory");
        part.of(memory).map_err(|_| refuse(Status::InvalidMemoryAccess, beyond()))
    };
    let status = u16::try_from(status_number).ok().filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| {
        bad(format!("its status is {}; a response has one from 200 to 599", status_number.cast_signed()))
    })?;
    let details = part("detail", details)?;
    let body = part("body", body)?;
    let fields = part("header map", headers)?;
    let body_bytes_max = host.plugin.settings.body_bytes_max.max(LOCAL_BODY_BYTES);
    if body.len() > body_bytes_max {
        return Err(bad(format!("its body has {} bytes, and {body_bytes_max} are allowed", body.len())));
    }
    if fields.len() > MAP_BYTES_MAX {
        return Err(bad(format!("its fields have {} bytes, and {MAP_BYTES_MAX} are allowed", fields.len())));
    }
    let malformed = || bad("its header map is malformed, has too many fields, or an invalid name".to_owned());
    let parsed = pairs::read(fields).and_then(|pairs| maps::fields(&pairs));
    let headers = parsed.ok_or_else(malformed)?;
    // Only the first response of an exchange is kept. Later ones are dropped and do not count.
    if !host.filter_context().is_some_and(|context| context.exchange.is_answered()) {
        host.makes(details.len() + body.len() + fields.len())?;
    }
    let mut local = LocalResponse { status, headers, body: Bytes::copy_from_slice(body) };
    let is_call = || {
        let context = host.filter_context();
        context.is_some_and(|context| {
            let exchange = &context.exchange;
            exchange.request_info.method == Method::POST && grpc::is_grpc(&exchange.request.borrow().headers)
        })
    };
    if let Some(grpc_status) = call_status(&local, grpc_number).filter(|_| is_call()) {
        let message = if details.is_empty() { body } else { details };
        as_grpc(&mut local, grpc_status, message);
    } else if !local.body.is_empty() && !local.headers.contains_key(header::CONTENT_TYPE) {
        local.headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("text/plain") });
    }
    Ok(local)
}

/// Returns the status of a response to a gRPC call: the one that the filter states, or else one for an error of HTTP. A response of
/// another kind is as the filter has made it.
fn call_status(local: &LocalResponse, number: i32) -> Option<grpc::Status> {
    let stated = grpc_status(number).map(grpc::Status::of_number);
    let is_error = local.status.as_u16() >= 400 && !grpc::is_grpc(&local.headers);
    stated.or_else(|| is_error.then(|| grpc::Status::of_http(local.status)))
}

/// Turns a response into one that a gRPC client understands: its status is a field, and it has no body.
fn as_grpc(local: &mut LocalResponse, status: grpc::Status, message: &[u8]) {
    local.status = StatusCode::OK;
    local.headers.insert(header::CONTENT_TYPE, grpc::CONTENT_TYPE);
    local.headers.insert(grpc::GRPC_STATUS, status.value());
    if !message.is_empty() {
        local.headers.insert(grpc::GRPC_MESSAGE, grpc::message(message));
    }
    local.body = Bytes::new();
}
