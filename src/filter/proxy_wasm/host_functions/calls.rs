//! Calls of a plugin to configured upstreams. gRPC and Redis calls are not implemented.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use wasmtime::{Caller, Linker};

use super::maps;
use crate::filter::MAP_BYTES_MAX;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status, answer};
use crate::filter::proxy_wasm::host::{Effect, Host, OutgoingCall};
use crate::filter::proxy_wasm::memory::{slice, split, write_u32};
use crate::filter::proxy_wasm::pairs;
use crate::http::forward;
use crate::upstream::OwnRequest;

/// The longest time that a call may take, and the default if it specifies none.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// A hint for the author of a plugin about the requirements of a call.
const CALL_ADVICE: &str =
    "a call has a valid `:method`, `:path` and `:authority`, and stays within the limits";

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
            let called = call(&mut caller, &parts, token_at);
            if let (Err(Failure::Status(status)), Some(journal)) = (&called, caller.data().log.journal()) {
                journal.note(format!("`proxy_http_call` returns {status:?}: {CALL_ADVICE}"));
            }
            answer(called)
        },
    )?;
    link_grpc(linker)?;
    link_vendor(linker)
}

/// Links the gRPC calls, which return that they are not implemented.
fn link_grpc(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const NONE: i32 = Status::Unimplemented as i32;
    linker.func_wrap(
        "env",
        "proxy_grpc_call",
        |caller: Caller<'_, Host>,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32,
         _: u32| {
            note_grpc(caller.data(), "proxy_grpc_call");
            NONE
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_grpc_stream",
        |caller: Caller<'_, Host>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
            note_grpc(caller.data(), "proxy_grpc_stream");
            NONE
        },
    )?;
    linker.func_wrap("env", "proxy_grpc_send", |_: u32, _: u32, _: u32, _: u32| NONE)?;
    linker.func_wrap("env", "proxy_grpc_cancel", |_: u32| NONE)?;
    linker.func_wrap("env", "proxy_grpc_close", |_: u32| NONE)?;
    Ok(())
}

/// Notes in the journal that a gRPC call is not made.
fn note_grpc(host: &Host, function: &str) {
    if let Some(journal) = host.log.journal() {
        journal.note(format!("`{function}` returns Unimplemented, as in the gateway: use `proxy_http_call`"));
    }
}

/// Links the functions that ABI 0.2.100 adds to 0.2.1, as unimplemented: most plugins built for it import them and
/// never call them.
fn link_vendor(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const NONE: i32 = Status::Unimplemented as i32;
    linker.func_wrap(
        "env",
        "proxy_redis_init",
        |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NONE,
    )?;
    linker.func_wrap("env", "proxy_redis_call", |_: u32, _: u32, _: u32, _: u32, _: u32| NONE)?;
    linker.func_wrap("env", "proxy_get_upstream_hosts", |_: u32, _: u32| NONE)?;
    linker.func_wrap("env", "proxy_set_upstream_override_host", |_: u32, _: u32| NONE)?;
    linker.func_wrap("env", "proxy_inject_encoded_data_to_filter_chain", |_: u32, _: u32, _: u32| NONE)?;
    Ok(())
}

/// The parts of a call, as pointers and lengths.
struct Parts {
    upstream: (u32, u32),
    headers: (u32, u32),
    body: (u32, u32),
    trailers: (u32, u32),
    timeout: Duration,
}

fn call(caller: &mut Caller<'_, Host>, parts: &Parts, token_at: u32) -> Answer {
    let (upstream, request, member, held) = {
        let (memory, host) = split(caller)?;
        let upstream = slice(memory, parts.upstream.0, parts.upstream.1)?;
        let upstream = std::str::from_utf8(upstream).map_err(|_| Status::BadArgument)?;
        if !host.plugin.can_call(upstream) {
            host.plugin.calls_unknown_upstream(upstream);
            return Err(Status::BadArgument.into());
        }
        let headers = slice(memory, parts.headers.0, parts.headers.1)?;
        let body = slice(memory, parts.body.0, parts.body.1)?;
        slice(memory, parts.trailers.0, parts.trailers.1)?;
        if headers.len() > MAP_BYTES_MAX || body.len() > host.plugin.settings.body_bytes_max {
            return Err(Status::BadArgument.into());
        }
        let pairs = pairs::read(headers).ok_or(Status::BadArgument)?;
        let held = host.holds(upstream.len() + headers.len() + body.len())?;
        let request = request(&pairs, Bytes::copy_from_slice(body)).ok_or(Status::BadArgument)?;
        (upstream.to_owned(), request, host.member().cloned(), held)
    };
    // Check that the token can be written: without it the guest could not recognise the response.
    write_u32(caller, token_at, 0)?;
    let token = caller.data_mut().begin_call().ok_or(Status::InternalFailure)?;
    write_u32(caller, token_at, token)?;
    if let Some(member) = &member {
        member.call_begins();
    }
    let timeout = if parts.timeout.is_zero() { TIMEOUT_MAX } else { parts.timeout.min(TIMEOUT_MAX) };
    let member = member.as_ref().map(Rc::downgrade);
    let call = OutgoingCall { token, upstream, request, timeout, member, held };
    caller.data_mut().leave(Effect::Call(Box::new(call)));
    Ok(())
}

/// Builds a request from its fields. `:method`, `:path` and `:authority` are required.
fn request(pairs: &[(&[u8], &[u8])], body: Bytes) -> Option<OwnRequest> {
    let find = |wanted: &[u8]| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let method = Method::from_bytes(find(b":method")?).ok()?;
    let target = origin_form(std::str::from_utf8(find(b":path")?).ok()?)?;
    let authority = HeaderValue::from_bytes(find(b":authority")?).ok()?;
    let mut headers = maps::fields(pairs)?;
    headers.insert(header::HOST, authority);
    OwnRequest::new(method, target, headers, body)
}

/// Returns the origin form of a `:path` (RFC 9112 §3.2.1). Plugins also pass whole URLs, such as the discovery URL of
/// an OpenID provider. Their scheme and authority select nothing: the upstream is a separate parameter, and
/// `:authority` is the Host. Returns `None` for a URL that is not http or https, or whose authority is not a host with
/// at most a port. The rest of the target is checked where the request is built.
fn origin_form(path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(path.to_owned());
    }
    let (scheme, rest) = path.split_once("://")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !forward::is_authority(authority) {
        return None;
    }
    // A URL may have an empty path; a request target may not.
    Some(if target.starts_with('/') { target.to_owned() } else { format!("/{target}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_of_a_call_is_the_origin_form_of_its_path() {
        for (path, target) in [
            ("/keys?a=1", Some("/keys?a=1")),
            ("//id.test/keys", Some("//id.test/keys")),
            ("/a?to=https://id.test/b", Some("/a?to=https://id.test/b")),
            ("https://id.test/keys?a=1", Some("/keys?a=1")),
            ("HTTP://id.test:8443/keys", Some("/keys")),
            ("https://[::1]:8443/keys", Some("/keys")),
            ("https://id.test", Some("/")),
            ("https://id.test?a=/b", Some("/?a=/b")),
            ("https://id.test//keys", Some("//keys")),
            ("", None),
            ("keys", None),
            ("*", None),
            ("id.test:443", None),
            ("https:/keys", None),
            ("https:///keys", None),
            ("ftp://id.test/keys", None),
            ("file:///etc/passwd", None),
            (" https://id.test/keys", None),
            ("https ://id.test/keys", None),
            ("https://user@id.test/keys", None),
            ("https://user:secret@id.test/keys", None),
            ("https://id test/keys", None),
            ("https://id.test\\@evil.test/keys", None),
            ("https://id.test:port/keys", None),
            ("https://a,b/keys", None),
        ] {
            assert_eq!(origin_form(path).as_deref(), target, "{path:?}");
        }
    }
}
