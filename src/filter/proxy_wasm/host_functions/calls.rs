//! HTTP calls of a plugin to configured upstreams.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::maps;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status};
use crate::filter::proxy_wasm::calls::{OutgoingCall, call_timeout};
use crate::filter::proxy_wasm::host::Effect;
use crate::filter::proxy_wasm::memory::{At, Guest, Slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{FilterContext, MAP_BYTES_MAX};
use crate::http::fields::Fields;
use crate::http::forward;
use crate::upstream::OwnRequest;

/// A hint for the author of a plugin about the requirements of a call.
const CALL_ADVICE: &str =
    "a call has a valid `:method`, `:path` and `:authority`, and stays within the limits";

pub(super) fn http_call(
    caller: &mut Guest<'_>,
    upstream: Slice,
    headers: Slice,
    body: Slice,
    trailers: Slice,
    timeout: u32,
    token_at: At<u32>,
) -> Answer {
    let timeout = call_timeout(timeout);
    let called = call(caller, [upstream, headers, body, trailers], timeout, token_at);
    if let (Err(Failure::Status(status)), Some(journal)) = (&called, caller.data().log.journal()) {
        journal.note(format!("`proxy_http_call` returns {status:?}: {CALL_ADVICE}"));
    }
    called
}

fn call(
    caller: &mut Guest<'_>,
    [upstream, headers, body, trailers]: [Slice; 4],
    timeout: Duration,
    token_at: At<u32>,
) -> Answer {
    let (upstream, request, context, held) = {
        let (memory, host) = split(caller)?;
        let upstream = std::str::from_utf8(upstream.of(memory)?).map_err(|_| Status::BadArgument)?;
        if !host.plugin.can_call(upstream) {
            host.plugin.calls_unknown_upstream(upstream);
            return Err(Status::BadArgument.into());
        }
        let headers = headers.of(memory)?;
        let body = body.of(memory)?;
        trailers.of(memory)?;
        if headers.len() > MAP_BYTES_MAX || body.len() > host.plugin.settings.body_bytes_max {
            return Err(Status::BadArgument.into());
        }
        let pairs = pairs::read(headers).ok_or(Status::BadArgument)?;
        let held = host.holds(upstream.len() + headers.len() + body.len())?;
        let request = request(&pairs, Bytes::copy_from_slice(body)).ok_or(Status::BadArgument)?;
        let context = host.filter_context().cloned();
        (upstream.to_owned(), request.of_trace(trace_of(context.as_ref())), context, held)
    };
    // Check that the token can be written: without it the guest could not recognise the response.
    token_at.write(caller, 0)?;
    let token = caller.data_mut().begin_call().ok_or(Status::InternalFailure)?;
    token_at.write(caller, token)?;
    if let Some(context) = &context {
        context.call_begins();
    }
    let filter_context = context.as_ref().map(Rc::downgrade);
    let call = OutgoingCall { token, upstream, request, timeout, filter_context, held };
    caller.data_mut().leave(Effect::Call(Box::new(call)));
    Ok(())
}

/// Returns the fields of the trace of the exchange for which a guest makes a request.
pub(super) fn trace_of(context: Option<&Rc<FilterContext>>) -> Option<&Fields> {
    context?.exchange.request_info.trace.as_deref()
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
