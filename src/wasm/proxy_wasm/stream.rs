//! What becomes of an exchange: going on, ending it, answering in its place; and whose exchange it is.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::{Caller, Linker};

use super::abi::{Answer, Status, answer, direction_from_number};
use super::{maps, pairs};
use crate::fields::Fields;
use crate::filter::{LocalResponse, MAP_BYTES_MAX, Member, field_value};
use crate::wasm::host::Host;
use crate::wasm::memory::{give, slice, split, write_u32};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a local response's body may have besides what the filter may hold back of others.
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
            // The status of a gRPC call, of which there are none.
            answer(
                write_u32(&mut caller, code_at, 0)
                    .and_then(|()| give(&mut caller, &[], message, message_size)),
            )
        },
    )?;
    Ok(())
}

fn member(host: &Host) -> Answer<&Member> {
    Ok(host.member().map(|member| &**member).ok_or(Status::BadArgument)?)
}

fn proceed(host: &Host, stream: u32) -> Answer {
    let direction = direction_from_number(stream).ok_or(Status::Unimplemented)?;
    member(host)?.release(direction);
    Ok(())
}

fn close(host: &Host, stream: u32) -> Answer {
    direction_from_number(stream).ok_or(Status::Unimplemented)?;
    member(host)?.exchange.close();
    Ok(())
}

/// What a local response is made of, besides its fields.
struct Local {
    status: u32,
    details: (u32, u32),
    body: (u32, u32),
    /// -1 for none.
    grpc_status: i32,
}

fn respond(caller: &mut Caller<'_, Host>, parts: &Local, (headers, headers_size): (u32, u32)) -> Answer {
    let (memory, host) = split(caller)?;
    let status = u16::try_from(parts.status).ok().filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or(Status::BadArgument)?;
    let details = slice(memory, parts.details.0, parts.details.1)?;
    let body = slice(memory, parts.body.0, parts.body.1)?;
    let fields = slice(memory, headers, headers_size)?;
    if fields.len() > MAP_BYTES_MAX || body.len() > host.plugin.settings.body_bytes_max.max(LOCAL_BODY_BYTES)
    {
        return Err(Status::BadArgument.into());
    }
    let fields = pairs::read(fields).and_then(|pairs| maps::fields(&pairs)).ok_or(Status::BadArgument)?;
    let member = member(host)?;
    let mut local = LocalResponse { status, headers: fields, body: Bytes::copy_from_slice(body) };
    if is_grpc(&member.exchange.request.borrow().headers) && parts.grpc_status >= 0 {
        as_grpc(&mut local, parts.grpc_status, details);
    } else if !local.body.is_empty() && !local.headers.contains_key(header::CONTENT_TYPE) {
        local.headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("text/plain") });
    }
    member.exchange.answer(local);
    Ok(())
}

fn is_grpc(headers: &Fields) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// An answer that a gRPC client understands: its status is in a field, and there is no body.
fn as_grpc(local: &mut LocalResponse, grpc_status: i32, message: &[u8]) {
    local.status = StatusCode::OK;
    local.headers.insert(header::CONTENT_TYPE, const { HeaderValue::from_static("application/grpc") });
    local.headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status));
    if !message.is_empty() {
        local.headers.insert(GRPC_MESSAGE, field_value(message));
    }
    local.body = Bytes::new();
}
