//! The two formats of a line.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use http::Version;
use serde::{Serialize, Serializer};

use super::Entry;
use super::calendar::Calendar;
use crate::observe::traces::{SpanId, TraceId};

/// Appends the record as a JSON object and a newline.
///
/// Bytes that are not UTF-8 become U+FFFD. Quotes, backslashes and control bytes are escaped, so that a client cannot
/// end the line.
pub(super) fn json(line: &mut Vec<u8>, calendar: &mut Calendar, record: &Entry<'_>) -> io::Result<()> {
    let (time, micros) = calendar.rfc3339(record.started);
    let object = Line {
        time: format_args!("{time}.{micros:06}Z"),
        client: record.client,
        listener: record.listener,
        method: record.method,
        target: String::from_utf8_lossy(record.target),
        version: version(record.version),
        host: record.host.map(String::from_utf8_lossy),
        status: record.status,
        grpc_status: record.grpc_status,
        route: record.route,
        endpoint: record.endpoint,
        reused: record.reused,
        attempts: record.attempts,
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        acquire_ms: record.acquire.map(millis),
        connect_ms: record.connect.map(millis),
        first_byte_ms: record.first_byte.map(millis),
        total_ms: millis(record.total),
        error: record.error,
        user_agent: record.user_agent.map(String::from_utf8_lossy),
        referer: record.referer.map(String::from_utf8_lossy),
        auth: record.auth,
        identity: record.identity,
        request_id: record.request_id.map(String::from_utf8_lossy),
        trace_id: record.trace_id,
        span_id: record.span_id,
    };
    serde_json::to_writer(&mut *line, &object)?;
    line.push(b'\n');
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    time: std::fmt::Arguments<'a>,
    #[serde(serialize_with = "client")]
    client: Option<IpAddr>,
    listener: &'a str,
    method: &'a str,
    target: Cow<'a, str>,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<bool>,
    attempts: u32,
    request_bytes: u64,
    response_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<SpanId>,
}

/// The client on a Unix socket, which has no address; as in nginx.
const UNIX: &str = "unix:";

fn client<S: Serializer>(client: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match client {
        Some(client) => client.serialize(serializer),
        None => serializer.serialize_str(UNIX),
    }
}

/// Appends the record in the Combined Log Format, followed by the gateway's own fields and a newline.
///
/// The size is always a number, never `-`. Any other missing value is `-`.
pub(super) fn common(line: &mut Vec<u8>, calendar: &mut Calendar, record: &Entry<'_>) -> io::Result<()> {
    match record.client {
        Some(client) => write!(line, "{client}")?,
        None => line.extend_from_slice(UNIX.as_bytes()),
    }
    write!(line, " - - [{} +0000] \"", calendar.common(record.started))?;
    escape(line, record.method.as_bytes())?;
    line.push(b' ');
    escape(line, record.target)?;
    let (version, status, response_bytes) = (version(record.version), record.status, record.response_bytes);
    write!(line, " {version}\" {status:03} {response_bytes} ")?;
    quoted(line, record.referer)?;
    line.push(b' ');
    quoted(line, record.user_agent)?;
    line.extend_from_slice(b" listener=");
    quoted(line, Some(record.listener.as_bytes()))?;
    line.extend_from_slice(b" host=");
    quoted(line, record.host)?;
    line.extend_from_slice(b" route=");
    quoted(line, record.route.map(str::as_bytes))?;
    line.extend_from_slice(b" endpoint=");
    quoted(line, record.endpoint.map(str::as_bytes))?;
    line.extend_from_slice(b" reused=");
    line.extend_from_slice(match record.reused {
        Some(true) => b"true",
        Some(false) => b"false",
        None => b"-",
    });
    write!(line, " attempts={} request_bytes={}", record.attempts, record.request_bytes)?;
    let times = [
        ("acquire_ms", record.acquire),
        ("connect_ms", record.connect),
        ("first_byte_ms", record.first_byte),
        ("total_ms", Some(record.total)),
    ];
    for (name, time) in times {
        match time {
            Some(time) => write!(line, " {name}={}.{:03}", time.as_millis(), time.subsec_micros() % 1000)?,
            None => write!(line, " {name}=-")?,
        }
    }
    writeln!(line, " error={}", record.error.unwrap_or("-"))
}

fn quoted(line: &mut Vec<u8>, value: Option<&[u8]>) -> io::Result<()> {
    line.push(b'"');
    match value {
        Some(value) => escape(line, value)?,
        None => line.push(b'-'),
    }
    line.push(b'"');
    Ok(())
}

/// Writes quotes, backslashes and everything that is not printable ASCII as `\xHH`, so that nothing a client sends can
/// end the field or the line, or control a terminal.
fn escape(line: &mut Vec<u8>, value: &[u8]) -> io::Result<()> {
    for &byte in value {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => write!(line, "\\x{byte:02X}")?,
            _ => line.push(byte),
        }
    }
    Ok(())
}

/// Returns milliseconds with microsecond precision.
fn millis(duration: Duration) -> f64 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    // Exact up to 285 years: 2^53 microseconds.
    micros as f64 / 1000.0
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
