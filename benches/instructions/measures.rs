//! The measures.

use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use gateway::testing::measure::{Filtered, Pooled, Proxied};
use gateway::testing::measure_auth::Tokens;
use gateway::testing::measure_exchange::Protocol;
use gateway::testing::measure_heads::{Forward, Head, Routes};
use http::{StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::unconstrained;

use crate::counted;
use crate::exchanges::EXCHANGES;

/// The number of uncounted rounds at the start, until pools, buffers and instances exist.
const WARM_UP: u64 = 32;

/// The number of counted rounds. Of a filter's callbacks, one in eight is timed.
pub(crate) const ROUNDS: u64 = 256;

/// The measures that are one poll of one task, by name.
const MEASURES: [(&str, fn() -> anyhow::Result<()>); 18] = [
    ("router/first of 10", || find_route(10, 0)),
    ("router/last of 10", || find_route(10, 9)),
    ("router/first of 10000", || find_route(10_000, 0)),
    ("router/last of 10000", || find_route(10_000, 9_999)),
    ("pool/acquire and release", acquire_and_release),
    ("forward/request head", request_head),
    ("forward/response head", response_head),
    ("auth/known token", known_token),
    ("auth/ES256 token", es256_token),
    ("filter/heads", || filter(HEADS, 0)),
    ("filter/uppercase 1 KiB", || filter(UPPERCASE, 1024)),
    ("proxied/GET 1 KiB", || proxied(PLAIN, 0, 1024)),
    ("proxied/GET 64 KiB", || proxied(PLAIN, 0, 65_536)),
    ("proxied/POST 16 KiB", || proxied(PLAIN, 16_384, 64)),
    ("proxied/rate limit", || proxied_by(&with_policies(PLAIN, RATE_LIMIT, Protocol::H1), false, 0, 1024)),
    ("proxied/access log", || proxied_by(&with_access_log(), false, 0, 1024)),
    ("proxied/filter heads", || proxied(HEADS, 0, 1024)),
    ("proxied/filter uppercase 1 KiB", || proxied(UPPERCASE, 0, 1024)),
];

/// Returns the names of all measures, in the order of the report.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MEASURES.iter().map(|(name, _)| *name).chain(EXCHANGES.iter().map(|exchange| exchange.name))
}

/// Performs a measure, with all its rounds.
pub(crate) fn perform(name: &str) -> anyhow::Result<()> {
    if let Some(exchange) = EXCHANGES.iter().find(|exchange| exchange.name == name) {
        return exchange.perform();
    }
    let (_, measure) =
        MEASURES.iter().find(|(known, _)| *known == name).context("there is no such measure")?;
    let runtime = Builder::new_current_thread().enable_time().build_local(LocalOptions::default())?;
    // This is all one poll, which tokio would otherwise end after a budget of reads and writes.
    runtime.block_on(unconstrained(async { measure() }))
}

/// True if the present round is counted.
#[derive(Clone, Copy)]
pub(crate) struct Counting(bool);

impl Counting {
    pub(crate) fn count<T>(self, work: impl FnOnce() -> T) -> T {
        if self.0 { counted(work) } else { work() }
    }
}

pub(crate) fn repeat(mut round: impl FnMut(Counting) -> anyhow::Result<()>) -> anyhow::Result<()> {
    (0..WARM_UP + ROUNDS).try_for_each(|number| round(Counting(number >= WARM_UP)))
}

fn find_route(routes: usize, wanted: usize) -> anyhow::Result<()> {
    let routes = Routes::new(routes, wanted).context("the routes conflict")?;
    let line = routes.line();
    repeat(|counting| {
        let found = counting.count(|| routes.find(black_box(&line)));
        ensure!(found == Some(wanted), "another route was found");
        Ok(())
    })
}

fn acquire_and_release() -> anyhow::Result<()> {
    let pooled = Pooled::new(&config(PLAIN, Protocol::H1), folder());
    repeat(|counting| {
        counting.count(|| pooled.acquire_and_release());
        Ok(())
    })
}

/// Applies all the rules for a request's head, in the order that `forward` prescribes.
fn request_head() -> anyhow::Result<()> {
    let (head, forward) = (Head::new(&REQUEST_FIELDS), Forward::new([192, 0, 2, 7].into()));
    repeat(|counting| {
        let mut head = head.clone();
        let version = black_box(Version::HTTP_11);
        let is_plain = counting.count(|| forward.request(&mut head, version, black_box("api.example.com")));
        ensure!(is_plain && head.has("x-forwarded-for"), "{head:?}");
        Ok(())
    })
}

fn response_head() -> anyhow::Result<()> {
    let (head, forward) = (Head::new(&RESPONSE_FIELDS), Forward::new([192, 0, 2, 7].into()));
    repeat(|counting| {
        let mut head = head.clone();
        let (status, version) = (black_box(StatusCode::OK), black_box(Version::HTTP_11));
        let is_clean = counting.count(|| forward.response(&mut head, status, version));
        ensure!(is_clean && !head.has("keep-alive"), "{head:?}");
        Ok(())
    })
}

/// Knows the caller of a token that the worker has verified before.
fn known_token() -> anyhow::Result<()> {
    let mut tokens = Tokens::new(1);
    repeat(|counting| {
        ensure!(counting.count(|| tokens.verify(black_box(0))), "the token is refused");
        Ok(())
    })
}

/// Verifies a token that is new to the worker.
fn es256_token() -> anyhow::Result<()> {
    let mut tokens = Tokens::new(usize::try_from(WARM_UP + ROUNDS)?);
    let mut number = 0;
    repeat(|counting| {
        ensure!(counting.count(|| tokens.verify(black_box(number))), "the token is refused");
        number += 1;
        Ok(())
    })
}

/// Runs both heads of an exchange and a response's body through a filter.
fn filter(filter: &str, body_bytes: usize) -> anyhow::Result<()> {
    let filtered = Filtered::new(&config(filter, Protocol::H1), folder());
    let body = Bytes::from(vec![b'x'; body_bytes]);
    repeat(|counting| {
        let message = filtered.message(Head::new(&REQUEST_FIELDS), Head::new(&RESPONSE_FIELDS), body.clone());
        let passed = counting.count(|| filtered.pass(message));
        ensure!(passed == body.len() as u64, "the filter has passed a different body");
        Ok(())
    })
}

fn proxied(filter: &str, request_bytes: usize, response_bytes: usize) -> anyhow::Result<()> {
    proxied_by(&config(filter, Protocol::H1), filter == UPPERCASE, request_bytes, response_bytes)
}

/// Serves a whole request, from the bytes that a client has sent to those that it receives.
fn proxied_by(
    config: &str,
    is_upper_case: bool,
    request_bytes: usize,
    response_bytes: usize,
) -> anyhow::Result<()> {
    let mut gateway = Proxied::new(config, folder());
    let method = if request_bytes == 0 { "GET" } else { "POST" };
    let request = message(&format!("{method} /api/v1/items/7 HTTP/1.1"), &REQUEST_FIELDS, request_bytes);
    let response = message("HTTP/1.1 200 OK", &RESPONSE_FIELDS, response_bytes);
    let body = vec![if is_upper_case { b'X' } else { b'x' }; response_bytes];
    let mut buffer = vec![0; 1 << 20];
    repeat(|counting| {
        write(&mut gateway.client, &request)?;
        counting.count(|| gateway.work());
        let sent = read(&mut gateway.upstream, &mut buffer)?;
        ensure!(sent.starts_with(method.as_bytes()) && sent.len() > request_bytes, "no request came");
        write(&mut gateway.upstream, &response)?;
        counting.count(|| gateway.work());
        let answer = read(&mut gateway.client, &mut buffer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&body), "no such answer came");
        Ok(())
    })
}

pub(crate) const PLAIN: &str = "";

/// A filter that adds a field to each response.
const HEADS: &str = r#"{ wasm: c-header.wasm, config: "x-served-by: gateway" }"#;

/// A filter that converts each response's body to capitals.
const UPPERCASE: &str = "{ wasm: uppercase.wasm }";

/// A limit that admits all requests, by the address of the client.
const RATE_LIMIT: &str = "rate_limit: { rate: 1000000/s }";

/// Returns the configuration of a gateway with one route, which has the filter and an upstream of this protocol.
pub(crate) fn config(filter: &str, upstream: Protocol) -> String {
    with_policies(filter, "", upstream)
}

/// Returns the same with policies of the route.
fn with_policies(filter: &str, policies: &str, upstream: Protocol) -> String {
    let protocol = match upstream {
        Protocol::H1 => "h1",
        Protocol::H2 => "h2",
    };
    let filters = if filter == PLAIN { "{}".to_owned() } else { format!("{{ it: {filter} }}") };
    let used = if filter == PLAIN { "" } else { "it" };
    format!(
        r#"
workers: 1
telemetry: {{ access_log: off }}
wasm: {{ cache: off }}
listeners: [{{ name: web, address: "127.0.0.1:80" }}]
filters: {filters}
routes:
  - name: api
    match: {{ prefix: /api }}
    upstream: {{ url: "http://127.0.0.1:81", protocol: {protocol} }}
    filters: [{used}]
    {policies}
"#
    )
}

/// Returns the configuration of a gateway with one route that is logged. The thread that writes the lines is not counted.
fn with_access_log() -> String {
    config(PLAIN, Protocol::H1).replace("access_log: off", "access_log: { output: /dev/null }")
}

/// Returns the folder of the modules.
pub(crate) fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt"))
}

/// Fields similar to a browser's.
pub(crate) const REQUEST_FIELDS: [(&str, &str); 7] = [
    ("host", "api.example.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"),
    ("accept", "application/json, */*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ("connection", "keep-alive"),
];

pub(crate) const RESPONSE_FIELDS: [(&str, &str); 7] = [
    ("date", "Tue, 24 Nov 2026 10:00:00 GMT"),
    ("server", "origin"),
    ("content-type", "application/json"),
    ("cache-control", "private, max-age=60"),
    ("etag", "\"0123456789abcdef\""),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=60"),
];

fn message(first_line: &str, fields: &[(&str, &str)], body_bytes: usize) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body_bytes == 0 { String::new() } else { format!("content-length: {body_bytes}\r\n") };
    let mut message = format!("{first_line}\r\n{fields}{length}\r\n").into_bytes();
    message.resize(message.len() + body_bytes, b'x');
    message
}

fn write(pipe: &mut DuplexStream, bytes: &[u8]) -> anyhow::Result<()> {
    let written = pin!(pipe.write_all(bytes)).poll(&mut Context::from_waker(Waker::noop()));
    ensure!(written.is_ready(), "the pipe is full");
    Ok(())
}

/// Reads all bytes that are available.
fn read<'b>(pipe: &mut DuplexStream, buffer: &'b mut [u8]) -> anyhow::Result<&'b [u8]> {
    let mut read = ReadBuf::new(buffer);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let before = read.filled().len();
        match Pin::new(&mut *pipe).poll_read(&mut cx, &mut read) {
            Poll::Pending => break,
            Poll::Ready(result) => result?,
        }
        ensure!(read.filled().len() > before, "the pipe has ended");
    }
    let length = read.filled().len();
    buffer.get(..length).context("more than there is room for")
}
