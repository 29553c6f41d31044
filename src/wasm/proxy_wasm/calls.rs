//! Requests of a plugin's own, to upstreams of the configuration. gRPC calls are not there yet.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use wasmtime::{Caller, Linker};

use super::abi::{Answer, Status, answer};
use super::{maps, pairs};
use crate::filter::MAP_BYTES_MAX;
use crate::upstream::OwnRequest;
use crate::wasm::host::{Effect, Host, OutgoingCall};
use crate::wasm::memory::{slice, split, write_u32};

/// How long a call may take that names no time, or a longer one.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut caller: Caller<'_, Host>,
         upstream: u32,
         upstream_size: u32,
         headers: u32,
         headers_size: u32,
         body: u32,
         body_size: u32,
         trailers: u32,
         trailers_size: u32,
         timeout: u32,
         token_at: u32| {
            let parts = Parts {
                upstream: (upstream, upstream_size),
                headers: (headers, headers_size),
                body: (body, body_size),
                trailers: (trailers, trailers_size),
                timeout: Duration::from_millis(timeout.into()),
            };
            answer(call(&mut caller, &parts, token_at))
        },
    )?;
    link_grpc(linker)
}

/// gRPC calls answer that they are not there.
fn link_grpc(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const NONE: i32 = Status::Unimplemented as i32;
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NONE,
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NONE,
    )?;
    linker.func_wrap("env", "proxy_grpc_send", |_: u32, _: u32, _: u32, _: u32| NONE)?;
    linker.func_wrap("env", "proxy_grpc_cancel", |_: u32| NONE)?;
    linker.func_wrap("env", "proxy_grpc_close", |_: u32| NONE)?;
    Ok(())
}

/// What a call is made of, as pointers and lengths.
struct Parts {
    upstream: (u32, u32),
    headers: (u32, u32),
    body: (u32, u32),
    trailers: (u32, u32),
    timeout: Duration,
}

fn call(caller: &mut Caller<'_, Host>, parts: &Parts, token_at: u32) -> Answer {
    let (upstream, request, member) = {
        let (memory, host) = split(caller)?;
        let upstream = slice(memory, parts.upstream.0, parts.upstream.1)?;
        let upstream = std::str::from_utf8(upstream).map_err(|_| Status::BadArgument)?;
        if !host.plugin.can_call(upstream) {
            return Err(Status::BadArgument.into());
        }
        let headers = slice(memory, parts.headers.0, parts.headers.1)?;
        let body = slice(memory, parts.body.0, parts.body.1)?;
        slice(memory, parts.trailers.0, parts.trailers.1)?;
        if headers.len() > MAP_BYTES_MAX || body.len() > host.plugin.settings.body_bytes_max {
            return Err(Status::BadArgument.into());
        }
        let pairs = pairs::read(headers).ok_or(Status::BadArgument)?;
        let request = request(&pairs, Bytes::copy_from_slice(body)).ok_or(Status::BadArgument)?;
        (upstream.to_owned(), request, host.member().cloned())
    };
    // Where it cannot be told the token, the guest would never know of the answer.
    write_u32(caller, token_at, 0)?;
    let token = caller.data_mut().begin_call().ok_or(Status::InternalFailure)?;
    write_u32(caller, token_at, token)?;
    if let Some(member) = &member {
        member.call_begins();
    }
    let timeout = if parts.timeout.is_zero() { TIMEOUT_MAX } else { parts.timeout.min(TIMEOUT_MAX) };
    let call = OutgoingCall { token, upstream, request, timeout, member: member.as_ref().map(Rc::downgrade) };
    caller.data_mut().leave(Effect::Call(Box::new(call)));
    Ok(())
}

/// A request by its fields, of which `:method`, `:path` and `:authority` must be there.
fn request(pairs: &[(&[u8], &[u8])], body: Bytes) -> Option<OwnRequest> {
    let find = |wanted: &[u8]| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let method = Method::from_bytes(find(b":method")?).ok()?;
    let path = std::str::from_utf8(find(b":path")?).ok()?;
    let authority = HeaderValue::from_bytes(find(b":authority")?).ok()?;
    let mut headers = maps::fields(pairs)?;
    headers.insert(header::HOST, authority);
    OwnRequest::new(method, path.to_owned(), headers, body)
}
