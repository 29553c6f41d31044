//! The program of a log: what its configuration says about lines, compiled once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Version, header};

use super::calendar::Calendars;
use super::encode::{address, apache, apache_word, fraction, hex, json, logfmt, millis, number};
use super::entry::Entry;
use super::mask::{MASKED, Mask, percent_decoded};
use super::syslog::Head;
use crate::config::{
    self, LogCondition, LogField, LogFormat, LogOutput, OwnField, SyslogReceiver, TokenPlace,
};

/// The largest line that goes into a datagram, with the head of the message. Receivers take at least 2 KiB (RFC 5426 §3.2), and those in
/// use 8.
const DATAGRAM_BYTES_MAX: usize = 8192;

/// The lengths to which values are cut, one after the other, until a line fits into a datagram.
const CUTS: [usize; 5] = [2048, 512, 128, 32, 8];

/// Fields whose values are always masked: they are credentials.
const SECRET_HEADERS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE];

/// The parts of an exchange that a log has to keep for its lines. What no field shows is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) host: bool,
    pub(crate) user_agent: bool,
    pub(crate) referer: bool,
    /// Fields of the request.
    pub(crate) request: Vec<HeaderName>,
    /// Fields of the response.
    pub(crate) response: Vec<HeaderName>,
    /// Claims of the caller.
    pub(crate) claims: Vec<Box<str>>,
}

/// The settings of a log, in the form in which a line needs them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    format: LogFormat,
    steps: Box<[Step]>,
    capture: Capture,
    mask: Mask,
    only: Box<[LogCondition]>,
    sample: f64,
    /// The head of syslog messages.
    head: Option<Head>,
    bytes_max: Option<usize>,
}

/// One field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// The name, as the format writes it before the value. In JSON a comma comes first.
    key: Box<[u8]>,
    source: Source,
    /// True if only the presence of the value is shown.
    is_masked: bool,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Own(OwnField),
    /// These have their index in the list of [`Capture`].
    Header(usize),
    ResponseHeader(usize),
    Identity(usize),
    Query(Box<str>),
}

/// A value before it is written.
enum Value<'e> {
    /// A text that a peer may have chosen.
    Text(Cow<'e, [u8]>),
    /// A text that needs no escapes.
    Plain(&'e str),
    Number(u64),
    /// Bytes that are written as hexadecimal digits.
    Hex(&'e [u8]),
    Millis(Duration),
    Bool(bool),
    Address(Option<IpAddr>),
    Time,
    UnixTime,
}

/// The outcome of writing a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Whole,
    /// Values were cut so that the line fits into a datagram.
    Cut,
    /// The line does not fit into a datagram even so. It must be dropped.
    TooLong,
}

impl Program {
    /// Compiles the settings of a log. `credentials` are the places of keys and tokens, which are always masked.
    pub(super) fn new(settings: &config::AccessLog, credentials: &[TokenPlace]) -> Self {
        let of_queries = credentials.iter().filter_map(|place| match place {
            TokenPlace::Query(name) => Some(name.as_str()),
            TokenPlace::Bearer | TokenPlace::Header(_) | TokenPlace::Cookie(_) => None,
        });
        let of_headers = credentials.iter().filter_map(|place| match place {
            TokenPlace::Header(name) => Some(name.as_http()),
            TokenPlace::Bearer | TokenPlace::Query(_) | TokenPlace::Cookie(_) => None,
        });
        let named = settings.mask.headers.iter().map(config::HeaderName::as_http);
        let secret: Vec<&HeaderName> = SECRET_HEADERS.iter().chain(named).chain(of_headers).collect();
        let mask = Mask::new(settings.mask.query.iter().map(config::ParameterName::as_str).chain(of_queries));
        let mut compiler =
            Compiler { format: settings.format, secret: &secret, mask: &mask, capture: Capture::default() };
        let steps = match &settings.fields {
            Some(fields) => fields.iter().map(|field| compiler.step(field)).collect(),
            None => {
                default_fields(settings.format).map(|field| compiler.step(&LogField::Own(field))).collect()
            }
        };
        let (head, bytes_max) = match &settings.output {
            LogOutput::Syslog(receiver) => {
                let head = Head::new(settings.syslog.as_ref().unwrap_or(&config::Syslog::default()));
                let is_stream = matches!(receiver, SyslogReceiver::Tcp(_));
                (Some(head), (!is_stream).then_some(DATAGRAM_BYTES_MAX))
            }
            LogOutput::Stdout | LogOutput::Stderr | LogOutput::File(_) => (None, None),
        };
        Self {
            format: settings.format,
            steps,
            capture: compiler.capture,
            mask,
            only: settings.only.iter().flat_map(config::LogConditions::as_slice).copied().collect(),
            sample: settings.sample.get(),
            head,
            bytes_max,
        }
    }

    /// Returns what exchanges have to keep for the log.
    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Returns true if the exchange has a line.
    pub(super) fn keeps(&self, entry: &Entry<'_>) -> bool {
        let is_kept = self.only.is_empty() || self.only.iter().any(|condition| applies(*condition, entry));
        is_kept && (self.sample >= 1.0 || has_failed(entry) || fastrand::f64() < self.sample)
    }

    /// Appends the line of an exchange, with its newline.
    pub(super) fn line(&self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>) -> Written {
        let before = line.len();
        self.write(line, calendars, entry, usize::MAX);
        let Some(bytes_max) = self.bytes_max else { return Written::Whole };
        // Datagrams have no newline.
        let fits = |line: &Vec<u8>| line.len() - before <= bytes_max + 1;
        if fits(line) {
            return Written::Whole;
        }
        for cut in CUTS {
            line.truncate(before);
            self.write(line, calendars, entry, cut);
            if fits(line) {
                return Written::Cut;
            }
        }
        line.truncate(before);
        Written::TooLong
    }

    /// Appends the line. Values that a peer may have chosen are cut to `cut` bytes.
    fn write(&self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>, cut: usize) {
        if let Some(head) = &self.head {
            let (time, micros) = calendars.rfc3339.rfc3339(entry.started);
            head.write(line, time, micros);
        }
        match self.format {
            LogFormat::Json => self.json(line, calendars, entry, cut),
            LogFormat::Text => self.text(line, calendars, entry, cut),
            LogFormat::Common => self.common(line, calendars, entry, cut),
            LogFormat::Combined => {
                self.common(line, calendars, entry, cut);
                for step in &self.steps {
                    line.extend_from_slice(b" \"");
                    match self.value(step, entry) {
                        Some(Value::Text(text)) => apache(line, &text, cut),
                        Some(value) => value.write_bare(line, calendars, entry),
                        None => line.push(b'-'),
                    }
                    line.push(b'"');
                }
            }
        }
        line.push(b'\n');
    }

    fn json(&self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>, cut: usize) {
        line.push(b'{');
        let mut is_first = true;
        for step in &self.steps {
            let Some(value) = self.value(step, entry) else { continue };
            // A key has its comma.
            let key = if is_first { step.key.get(1..).unwrap_or_default() } else { &*step.key };
            line.extend_from_slice(key);
            is_first = false;
            match value {
                Value::Text(text) => json(line, &text, cut),
                Value::Plain(text) => quoted(line, |line| line.extend_from_slice(text.as_bytes())),
                Value::Hex(bytes) => quoted(line, |line| hex(line, bytes)),
                Value::Address(client) => quoted(line, |line| address(line, client)),
                Value::Time => quoted(line, |line| rfc3339(line, calendars, entry)),
                value => value.write_bare(line, calendars, entry),
            }
        }
        line.push(b'}');
    }

    fn text(&self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>, cut: usize) {
        let before = line.len();
        for step in &self.steps {
            let Some(value) = self.value(step, entry) else { continue };
            if line.len() > before {
                line.push(b' ');
            }
            line.extend_from_slice(&step.key);
            match value {
                Value::Text(text) => logfmt(line, &text, cut),
                value => value.write_bare(line, calendars, entry),
            }
        }
    }

    /// Appends the Common Log Format without its newline. The size is always a number, as in nginx.
    fn common(&self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>, cut: usize) {
        address(line, entry.client);
        line.extend_from_slice(b" - ");
        match entry.identity.filter(|identity| !identity.is_empty()) {
            Some(identity) => apache_word(line, identity.as_bytes(), cut),
            None => line.push(b'-'),
        }
        line.extend_from_slice(b" [");
        line.extend_from_slice(calendars.common.common(entry.started).as_bytes());
        line.extend_from_slice(b" +0000] \"");
        apache(line, entry.method.as_bytes(), cut);
        line.push(b' ');
        apache(line, &self.mask.apply(entry.target), cut);
        line.push(b' ');
        line.extend_from_slice(version(entry.version).as_bytes());
        line.extend_from_slice(b"\" ");
        if entry.status < 100 {
            line.extend_from_slice(b"000");
        } else {
            number(line, entry.status.into());
        }
        line.push(b' ');
        number(line, entry.response_bytes);
    }

    /// Returns the value of a field; `None` if the exchange has none.
    fn value<'e>(&self, step: &Step, entry: &'e Entry<'_>) -> Option<Value<'e>> {
        let value = match &step.source {
            Source::Own(field) => self.own(*field, entry)?,
            Source::Header(index) => field_value(&self.mask, entry.request_headers.get(*index))?,
            Source::ResponseHeader(index) => field_value(&self.mask, entry.response_headers.get(*index))?,
            Source::Identity(index) => Value::Text(text(entry.claims.get(*index)?.as_deref()?)),
            Source::Query(name) => Value::Text(match parameter(entry.target, name.as_bytes())? {
                Cow::Borrowed(value) => self.mask.apply(value),
                Cow::Owned(value) => self.mask.apply(&value).into_owned().into(),
            }),
        };
        Some(if step.is_masked { Value::Plain(MASKED) } else { value })
    }

    fn own<'e>(&self, field: OwnField, entry: &'e Entry<'_>) -> Option<Value<'e>> {
        Some(match field {
            OwnField::Time => Value::Time,
            OwnField::UnixTime => Value::UnixTime,
            OwnField::Client => Value::Address(entry.client),
            OwnField::Listener => Value::Text(text(entry.listener)),
            OwnField::Method => Value::Text(text(entry.method)),
            OwnField::Target => Value::Text(self.mask.apply(entry.target)),
            OwnField::Path => Value::Text(self.mask.apply(before(entry.target, b'?'))),
            OwnField::Version => Value::Plain(version(entry.version)),
            OwnField::Host => Value::Text(entry.host?.into()),
            OwnField::Status => Value::Number(entry.status.into()),
            OwnField::GrpcStatus => Value::Number(entry.grpc_status?.into()),
            OwnField::Route => Value::Text(text(entry.route?)),
            OwnField::Endpoint => Value::Text(text(entry.endpoint?)),
            OwnField::Reused => Value::Bool(entry.reused?),
            OwnField::Attempts => Value::Number(entry.attempts.into()),
            OwnField::RequestBytes => Value::Number(entry.request_bytes),
            OwnField::ResponseBytes => Value::Number(entry.response_bytes),
            OwnField::Acquire => Value::Millis(entry.acquire?),
            OwnField::Connect => Value::Millis(entry.connect?),
            OwnField::FirstByte => Value::Millis(entry.first_byte?),
            OwnField::Total => Value::Millis(entry.total),
            OwnField::Error => Value::Plain(entry.error?),
            OwnField::UserAgent => Value::Text(entry.user_agent?.into()),
            OwnField::Referer => Value::Text(self.mask.apply(entry.referer?)),
            OwnField::Auth => Value::Text(text(entry.auth?)),
            OwnField::Identity => Value::Text(text(entry.identity?)),
            OwnField::RequestId => Value::Text(entry.request_id?.into()),
            OwnField::TraceId => Value::Hex(entry.trace_id.as_ref()?.bytes()),
            OwnField::SpanId => Value::Hex(entry.span_id.as_ref()?.bytes()),
        })
    }
}

impl Value<'_> {
    /// Appends the value as it is, without quotes and escapes.
    fn write_bare(self, line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>) {
        match self {
            Self::Text(text) => line.extend_from_slice(&text),
            Self::Plain(text) => line.extend_from_slice(text.as_bytes()),
            Self::Number(value) => number(line, value),
            Self::Hex(bytes) => hex(line, bytes),
            Self::Millis(duration) => millis(line, duration),
            Self::Bool(true) => line.extend_from_slice(b"true"),
            Self::Bool(false) => line.extend_from_slice(b"false"),
            Self::Address(client) => address(line, client),
            Self::Time => rfc3339(line, calendars, entry),
            Self::UnixTime => {
                let time = entry.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                number(line, time.as_secs());
                fraction::<6>(line, time.subsec_micros());
            }
        }
    }
}

/// The part of the compiler that changes with each field.
struct Compiler<'a> {
    format: LogFormat,
    secret: &'a [&'a HeaderName],
    mask: &'a Mask,
    capture: Capture,
}

impl Compiler<'_> {
    fn step(&mut self, field: &LogField) -> Step {
        let (source, secret) = match field {
            LogField::Own(own) => {
                let header = match own {
                    OwnField::Host => Some((&mut self.capture.host, header::HOST)),
                    OwnField::UserAgent => Some((&mut self.capture.user_agent, header::USER_AGENT)),
                    OwnField::Referer => Some((&mut self.capture.referer, header::REFERER)),
                    _ => None,
                };
                let header = header.map(|(is_kept, name)| {
                    *is_kept = true;
                    name
                });
                (Source::Own(*own), header.is_some_and(|name| self.secret.contains(&&name)))
            }
            LogField::Header(name) => {
                self.capture.request.push(name.as_http().clone());
                (Source::Header(self.capture.request.len() - 1), self.secret.contains(&name.as_http()))
            }
            LogField::ResponseHeader(name) => {
                self.capture.response.push(name.as_http().clone());
                (
                    Source::ResponseHeader(self.capture.response.len() - 1),
                    self.secret.contains(&name.as_http()),
                )
            }
            LogField::Query(name) => {
                (Source::Query(name.as_str().into()), self.mask.hides(name.as_str().as_bytes()))
            }
            LogField::Identity(claim) => {
                self.capture.claims.push(claim.clone());
                (Source::Identity(self.capture.claims.len() - 1), false)
            }
        };
        Step { key: self.key(&field.to_string()), source, is_masked: secret }
    }

    /// Returns the name as the format writes it before a value.
    fn key(&self, name: &str) -> Box<[u8]> {
        let mut key = Vec::new();
        if self.format == LogFormat::Json {
            key.push(b',');
            json(&mut key, name.as_bytes(), usize::MAX);
            key.push(b':');
        } else {
            // Claims may have these characters in their names.
            key.extend(
                name.bytes().map(|byte| if matches!(byte, b'"' | b'=' | b'\\') { b'_' } else { byte }),
            );
            key.push(b'=');
        }
        key.into()
    }
}

/// Returns the fields of a log that chooses none. Of a format with fixed fields, these are the ones for which an exchange has to keep
/// something.
fn default_fields(format: LogFormat) -> impl Iterator<Item = OwnField> {
    let is_shown = move |field: &OwnField| match format {
        LogFormat::Json | LogFormat::Text => field.is_default(),
        LogFormat::Common => false,
        LogFormat::Combined => matches!(field, OwnField::Referer | OwnField::UserAgent),
    };
    let mut fields: Vec<OwnField> = OwnField::ALL.iter().copied().filter(is_shown).collect();
    if format == LogFormat::Combined {
        fields.sort_by_key(|field| *field != OwnField::Referer);
    }
    fields.into_iter()
}

/// Returns true for an exchange that has failed: a status of servers, of HTTP or gRPC, or an end before the response was complete.
fn has_failed(entry: &Entry<'_>) -> bool {
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS, as OpenTelemetry has it.
    let is_of_server = |status: u8| matches!(status, 2 | 4 | 12..=15);
    entry.status >= 500
        || entry.grpc_status.is_some_and(is_of_server)
        || entry.error.is_some() && (entry.status < 400 || entry.status == 499)
}

fn applies(condition: LogCondition, entry: &Entry<'_>) -> bool {
    match condition {
        LogCondition::Errors => has_failed(entry),
        LogCondition::Slow(time) => entry.total > Duration::from(time),
        LogCondition::Status(status) => entry.status >= status,
    }
}

fn text(text: &str) -> Cow<'_, [u8]> {
    Cow::Borrowed(text.as_bytes())
}

/// Returns the value of a field. It may be a URL, or have one, so secrets in queries are masked there, too.
fn field_value<'e>(mask: &Mask, captured: Option<&'e Option<HeaderValue>>) -> Option<Value<'e>> {
    Some(Value::Text(mask.apply(captured?.as_ref()?.as_bytes())))
}

/// Returns the first parameter of this name, both decoded.
fn parameter<'e>(target: &'e [u8], name: &[u8]) -> Option<Cow<'e, [u8]>> {
    let query = target.get(before(target, b'?').len() + 1..)?;
    let mut pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let written = before(pair, b'=');
        (written, pair.get(written.len() + 1..).unwrap_or_default())
    });
    pairs.find(|(written, _)| *percent_decoded(written) == *name).map(|(_, value)| percent_decoded(value))
}

/// Returns the part of a text before a byte.
fn before(text: &[u8], byte: u8) -> &[u8] {
    text.split(|found| *found == byte).next().unwrap_or(text)
}

fn quoted(line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    line.push(b'"');
    write(line);
    line.push(b'"');
}

fn rfc3339(line: &mut Vec<u8>, calendars: &mut Calendars, entry: &Entry<'_>) {
    let (time, micros) = calendars.rfc3339.rfc3339(entry.started);
    line.extend_from_slice(time.as_bytes());
    fraction::<6>(line, micros);
    line.push(b'Z');
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
