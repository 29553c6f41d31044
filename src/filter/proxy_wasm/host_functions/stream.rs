//! Control of an exchange: continuing it, closing it, sending a local response, and selecting its context.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::{Caller, Linker};

use super::maps;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status, StreamKind, answer, grpc_status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{give, slice, split, write_u32};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Fault, FilterContext, LocalResponse, MAP_BYTES_MAX, field_value};
use crate::http::fields::Fields;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The bytes that the body of a local response may always have, even if `limits.body` is lower.
const LOCAL_BODY_BYTES: usize = 1 << 20;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "proxy_continue_stream", |caller: Caller<'_, Host>, stream: u32| {
        answer(proceed(caller.data(), stream))
    })?;
    // ABI 0.1.0.
    linker.func_wrap("env", "proxy_continue_request", |caller: Caller<'_, Host>| {
        answer(proceed(caller.data(), 0))
    })?;
    linker.func_wrap("env", "proxy_continue_response", |caller: Caller<'_, Host>| {
        answer(proceed(caller.data(), 1))
    })?;
    linker.func_wrap("env", "proxy_close_stream", |caller: Caller<'_, Host>, stream: u32| {
        answer(close(caller.data(), stream))
    })?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut caller: Caller<'_, Host>,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc_status: i32| {
            let parts =
                Local { status, details: (details, details_size), body: (body, body_size), grpc_status };
            answer(respond(&mut caller, &parts, (headers, headers_size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |mut caller: Caller<'_, Host>, context: u32| {
            answer(if caller.data_mut().set_effective(context) {
                Ok(())
            } else {
                Err(Status::BadArgument.into())
            })
        },
    )?;
    linker.func_wrap("env", "proxy_done", |mut caller: Caller<'_, Host>| {
        answer(if caller.data_mut().done() { Ok(()) } else { Err(Status::NotFound.into()) })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_status",
        |mut caller: Caller<'_, Host>, code_at: u32, message: u32, message_size: u32| {
            // The status of a gRPC call, which is not implemented.
            answer(
                write_u32(&mut caller, code_at, 0)
                    .and_then(|()| give(&mut caller, &[], message, message_size)),
            )
        },
    )?;
    Ok(())
}

fn member(host: &Host) -> Answer<&FilterContext> {
    Ok(host.member().map(|member| &**member).ok_or(Status::BadArgument)?)
}

fn proceed(host: &Host, stream: u32) -> Answer {
    match StreamKind::from_number(stream) {
        Some(StreamKind::Message(direction)) => member(host)?.release(direction),
        Some(StreamKind::Tcp) => return Err(Status::Unimplemented.into()),
        None => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

/// Closes the exchange, even if the stream number is unknown: the plugin gives the exchange up, and a wrong number must
/// not make the client wait for the end of a pause. As in other hosts, the sides of TCP filters do not concern an
/// exchange.
fn close(host: &Host, stream: u32) -> Answer {
    let kind = StreamKind::from_number(stream);
    if kind == Some(StreamKind::Tcp) {
        return Err(Status::Unimplemented.into());
    }
    member(host)?.exchange.close();
    if kind.is_some() { Ok(()) } else { Err(Status::BadArgument.into()) }
}

/// The parts of a local response, without its fields.
struct Local {
    status: u32,
    details: (u32, u32),
    body: (u32, u32),
    /// The gRPC status, or -1 for none.
    grpc_status: i32,
}

/// Responds to the exchange. An invalid response ends the exchange too, with an error: the plugin does not want it to
/// continue, and probably holds it back in the belief that the client has its response.
fn respond(caller: &mut Caller<'_, Host>, parts: &Local, headers: (u32, u32)) -> Answer {
    member(caller.data())?;
    let (memory, host) = split(caller)?;
    let local = local_response(memory, host, parts, headers)?;
    if let Some(journal) = host.log.journal() {
        journal.note(format!("sends a local response: {}", local.status));
    }
    member(host)?.exchange.answer(local);
    Ok(())
}

fn local_response(memory: &[u8], host: &Host, parts: &Local, headers: (u32, u32)) -> Answer<LocalResponse> {
    let refuse = |status: Status, what: String| {
        host.refuse(Fault::Response, || format!("it sent an invalid local response: {what}"));
        Failure::from(status)
    };
    let bad = |what: String| refuse(Status::BadArgument, what);
    let part = |part: &str, (pointer, length)| {
        let beyond = || format!("its {part} of {length} bytes at {pointer} is outside of its memory");
        slice(memory, pointer, length).map_err(|_| refuse(Status::InvalidMemoryAccess, beyond()))
    };
    let status = u16::try_from(parts.status).ok().filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| {
        bad(format!("its status is {}; a response has one from 200 to 599", parts.status.cast_signed()))
    })?;
    let details = part("detail", parts.details)?;
    let body = part("body", parts.body)?;
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
    if !host.member().is_some_and(|member| member.exchange.is_answered()) {
        host.makes(details.len() + body.len() + fields.len())?;
    }
    let mut local = LocalResponse { status, headers, body: Bytes::copy_from_slice(body) };
    let is_grpc = || host.member().is_some_and(|member| is_grpc(&member.exchange.request.borrow().headers));
    if let Some(grpc_status) = grpc_status(parts.grpc_status).filter(|_| is_grpc()) {
        as_grpc(&mut local, grpc_status, details);
    } else if !local.body.is_empty() && !local.headers.contains_key(header::CONTENT_TYPE) {
        local.headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("text/plain") });
    }
    Ok(local)
}

fn is_grpc(headers: &Fields) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Turns a response into one that a gRPC client understands: its status is a field, and it has no body.
fn as_grpc(local: &mut LocalResponse, grpc_status: u8, message: &[u8]) {
    local.status = StatusCode::OK;
    local.headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/grpc") });
    local.headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(grpc_status)));
    if !message.is_empty() {
        local.headers.insert(GRPC_MESSAGE, field_value(message));
    }
    local.body = Bytes::new();
}
