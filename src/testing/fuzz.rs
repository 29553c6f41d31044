//! The entry points of the targets in `fuzz/`: one function for each kind of external input. Each panics if the gateway
//! would be wrong. Compiled for fuzzing only.
#![allow(clippy::panic, reason = "a panic is how a fuzz target reports")]

use std::cell::OnceCell;
use std::path::Path;

use http::Method;

use crate::config::RoutePath;
use crate::http::path::{EncodedSlash, normalise};
use crate::observe::traces::TraceContext;
use crate::testing::pieces::Reading;
use crate::testing::scripted::Scripted;
use crate::testing::{grpc, http2, http2_use, pieces, scripted};

/// Parses request heads and bodies, whole and in pieces, which must mean the same.
pub fn requests(data: &[u8]) {
    compare(data, |pieces| pieces::requests(pieces));
}

/// Parses response heads and bodies, to GET and to HEAD.
pub fn responses(data: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        compare(data, |pieces| pieces::responses(pieces, &method));
    }
}

/// Parses a chunked body: the bytes follow the head of a request with such a body.
pub fn chunked(data: &[u8]) {
    requests(&[b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", data].concat());
}

/// Reads the frames of a client of HTTP/2, behind the preface and empty settings, whole and in pieces. Then serves it.
pub fn http2(data: &[u8]) {
    same_in_pieces(&[http2::OPENING, data].concat(), data, |pieces| http2::read(pieces));
    http2_use::serve(http2::OPENING, data);
}

/// Reads the frames of a server of HTTP/2, behind empty settings, as a client with open requests does, whole and in pieces. Then
/// uses such a client.
pub fn http2_client(data: &[u8]) {
    same_in_pieces(&[http2::SERVER_OPENING, data].concat(), data, |pieces| http2::read_responses(pieces));
    http2_use::request(http2::SERVER_OPENING, data);
}

/// Reads a body as messages of gRPC and as gRPC-Web, whole and in pieces whose size is in the first byte, and translates it.
pub fn grpc(data: &[u8]) {
    let Some((size, body)) = data.split_first() else { return };
    grpc::check(body, usize::from(*size));
}

/// Decodes and encodes a body of gRPC-Web's text form, whole and in pieces whose size is in the first byte.
pub fn grpc_web(data: &[u8]) {
    let size = data.first().map_or(1, |byte| usize::from(*byte));
    crate::http::grpc::web::pieces::check(data, size);
}

/// Parses a `traceparent`, which must be read as it is written.
pub fn trace_context(data: &[u8]) {
    if let Some(context) = TraceContext::parse(data) {
        assert_eq!(TraceContext::parse(context.to_value().as_bytes()), Some(context));
    }
}

/// Parses the path of a request, and of a configuration.
pub fn path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if let Ok(written) = path.parse::<RoutePath>() {
        assert_eq!(normalise(written.normal(), EncodedSlash::Keep).as_deref(), Ok(written.normal()));
    }
    for slashes in [EncodedSlash::Reject, EncodedSlash::Keep] {
        let Ok(once) = normalise(path, slashes) else { continue };
        assert_eq!(normalise(&once, slashes).as_deref(), Ok(&*once), "normalising again changed it");
        assert!(once.starts_with('/') && !once.contains(['\\', '{', '"']), "{once}");
        assert!(slashes == EncodedSlash::Keep || !once.contains("%2F"), "{once}");
        let decoded = once.replace("%2F", "/");
        assert!(!decoded.split('/').any(|segment| matches!(segment, "." | "..")), "{once}");
    }
}

/// Parses the text of a configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(errors) = crate::config::load::parse_with(text, "gateway.yaml", Path::new(""), &|_| None) {
        assert!(!errors.to_string().is_empty(), "an error without a word");
    }
}

/// Parses a certificate that an upstream shows without being verified, and a PEM file.
pub fn certificate(data: &[u8]) {
    crate::net::tls::fuzz(data);
}

/// Parses a token and its claims, and the key set of an issuer.
pub fn token(data: &[u8]) {
    crate::policy::auth::fuzz_token(data);
}

/// Opens cookies of logins and sessions.
pub fn session_cookie(data: &[u8]) {
    crate::policy::auth::fuzz_session(data);
}

/// Runs a filter that calls host functions with any arguments, and parses bytes that it passes as a header map.
/// `compile` makes a module of its text form.
pub fn filter_abi(data: &[u8], compile: fn(&str) -> Vec<u8>) {
    thread_local! {
        static SCRIPTED: OnceCell<Scripted> = const { OnceCell::new() };
    }
    assert!(scripted::read_pairs(data), "what is read as fields is not written as the same");
    SCRIPTED.with(|scripted| {
        let made = || Scripted::new(&compile(&scripted::module_text()));
        scripted.get_or_init(|| made().unwrap_or_else(|error| panic!("{error}"))).run(data);
    });
}

/// Reads `bytes` at once, byte by byte, and in pieces whose size is in the first byte of `data`.
fn same_in_pieces(
    bytes: &[u8],
    data: &[u8],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> http2::Reading,
) {
    let whole = read(&mut std::iter::once(bytes));
    let size = data.first().map_or(1, |byte| usize::from(*byte).max(1));
    for size in [1, size] {
        assert_eq!(read(&mut bytes.chunks(size)), whole, "pieces of {size}");
    }
}

/// Reads `data` at once, byte by byte, and in pieces whose size is in the first byte.
fn compare(data: &[u8], read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> Reading) {
    let whole = read(&mut std::iter::once(data));
    let size = data.first().map_or(1, |byte| usize::from(*byte).max(1));
    for size in [1, size] {
        if let Some(contradiction) = pieces::contradiction(&whole, &read(&mut data.chunks(size))) {
            panic!("pieces of {size}: {contradiction}");
        }
    }
}
