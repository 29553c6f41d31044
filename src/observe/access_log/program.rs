//! The program of a log: what its configuration says about lines, compiled once.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};

use super::encode::{apache, apache_word, hex, json_unquoted, logfmt, millionths, millis, number};
use super::entry::Entry;
use super::mask::{MASKED, Mask, percent_decoded};
use super::source::{Source, before, version};
use super::step::{Capture, Compiler, SECRET_HEADERS, Step, default_fields};
use super::syslog::Head;
use super::texts::Texts;
use crate::config::{self, LogCondition, LogField, LogFormat, LogOutput, SyslogReceiver, TokenPlace};

/// The largest line that goes into a datagram, with the head of the message. Receivers take at least 2 KiB (RFC 5426 §3.2), and those in
/// use 8.
const DATAGRAM_BYTES_MAX: usize = 8192;

/// The lengths to which values are cut, one after the other, until a line fits into a datagram.
const CUTS: [usize; 5] = [2048, 512, 128, 32, 8];

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
    pub(super) fn line(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>) -> Written {
        let before = line.len();
        self.write(line, texts, entry, usize::MAX);
        let Some(bytes_max) = self.bytes_max else { return Written::Whole };
        // Datagrams have no newline.
        let fits = |line: &Vec<u8>| line.len() - before <= bytes_max + 1;
        if fits(line) {
            return Written::Whole;
        }
        for cut in CUTS {
            line.truncate(before);
            self.write(line, texts, entry, cut);
            if fits(line) {
                return Written::Cut;
            }
        }
        line.truncate(before);
        Written::TooLong
    }

    /// Appends the line. Values that a peer may have chosen are cut to `cut` bytes.
    fn write(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        if let Some(head) = &self.head {
            let (time, micros) = texts.rfc3339.rfc3339(entry.started);
            head.write(line, time, micros);
        }
        match self.format {
            LogFormat::Json => self.json(line, texts, entry, cut),
            LogFormat::Text => self.text(line, texts, entry, cut),
            LogFormat::Common => self.common(line, texts, entry, cut),
            LogFormat::Combined => self.combined(line, texts, entry, cut),
        }
        line.push(b'\n');
    }

    fn json(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        line.push(b'{');
        // A key is `","name":`. There is no value before the first one, and after a number there is no quote to end.
        let (of_first, of_unquoted) = (2, 1);
        let mut skipped = of_first;
        for step in &self.steps {
            let key = |line: &mut Vec<u8>| step.key.append(line, skipped);
            let text = |line: &mut Vec<u8>, text: &[u8]| json_unquoted(line, text, cut);
            if self.value(line, texts, step, entry, key, text).is_some() {
                skipped = if step.is_quoted { 0 } else { of_unquoted };
            }
        }
        line.extend_from_slice(if skipped == 0 { b"\"}" } else { b"}" });
    }

    fn text(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        // A key is ` name=`.
        let mut skipped = 1;
        for step in &self.steps {
            let key = |line: &mut Vec<u8>| step.key.append(line, skipped);
            let text = |line: &mut Vec<u8>, text: &[u8]| logfmt(line, text, cut);
            if self.value(line, texts, step, entry, key, text).is_some() {
                skipped = 0;
            }
        }
    }

    /// Appends the Combined Log Format without its newline: the common one, and further values in quotes.
    fn combined(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        self.common(line, texts, entry, cut);
        for step in &self.steps {
            line.extend_from_slice(b" \"");
            let text = |line: &mut Vec<u8>, text: &[u8]| apache(line, text, cut);
            if self.value(line, texts, step, entry, |_| {}, text).is_none() {
                line.push(b'-');
            }
            line.push(b'"');
        }
    }

    /// Appends the Common Log Format without its newline. The size is always a number, as in nginx.
    fn common(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        line.extend_from_slice(texts.client.of(entry.client));
        line.extend_from_slice(b" - ");
        match entry.identity.filter(|identity| !identity.is_empty()) {
            Some(identity) => apache_word(line, identity.as_bytes(), cut),
            None => line.push(b'-'),
        }
        line.extend_from_slice(b" [");
        line.extend_from_slice(texts.common.common(entry.started).as_bytes());
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

    /// Appends the value of a field, after its key. Appends nothing and returns `None` if the exchange has none.
    fn value(
        &self,
        line: &mut Vec<u8>,
        texts: &mut Texts,
        step: &Step,
        entry: &Entry<'_>,
        key: impl FnOnce(&mut Vec<u8>),
        text: impl FnOnce(&mut Vec<u8>, &[u8]),
    ) -> Option<()> {
        match &step.source {
            Source::Text(of) if !step.is_masked => {
                let value = of(entry)?;
                key(line);
                text(line, value);
            }
            Source::Url(of) if !step.is_masked => {
                let value = of(entry)?;
                key(line);
                text(line, &self.mask.apply(value));
            }
            Source::Word(of) => {
                let value = of(entry)?;
                key(line);
                line.extend_from_slice(value);
            }
            Source::Number(of) => {
                let value = of(entry)?;
                key(line);
                number(line, value);
            }
            Source::Millis(of) => {
                let value = of(entry)?;
                key(line);
                millis(line, value);
            }
            Source::Bool(of) => {
                let value = of(entry)?;
                key(line);
                line.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Source::Hex(of) => {
                let value = of(entry)?;
                key(line);
                hex(line, value);
            }
            Source::Client => {
                key(line);
                line.extend_from_slice(texts.client.of(entry.client));
            }
            Source::Time => {
                key(line);
                let (time, micros) = texts.rfc3339.rfc3339(entry.started);
                line.extend_from_slice(time.as_bytes());
                millionths(line, micros);
                line.push(b'Z');
            }
            Source::UnixTime => {
                key(line);
                let time = entry.started.duration_since(UNIX_EPOCH).unwrap_or_default();
                number(line, time.as_secs());
                millionths(line, time.subsec_micros());
            }
            source => {
                let value = self.revised(source, entry)?;
                key(line);
                text(line, if step.is_masked { MASKED.as_bytes() } else { &value });
            }
        }
        Some(())
    }

    /// Returns a text that is looked for, or in which secrets are masked.
    fn revised<'e>(&self, source: &Source, entry: &'e Entry<'_>) -> Option<Cow<'e, [u8]>> {
        // A field may be a URL, or have one.
        let field =
            |captured: Option<&'e Option<HeaderValue>>| Some(self.mask.apply(captured?.as_ref()?.as_bytes()));
        match source {
            Source::Url(of) => Some(self.mask.apply(of(entry)?)),
            Source::Header(index) => field(entry.request_headers.get(*index)),
            Source::ResponseHeader(index) => field(entry.response_headers.get(*index)),
            Source::Identity(index) => Some(Cow::Borrowed(entry.claims.get(*index)?.as_deref()?.as_bytes())),
            Source::Query(name) => Some(match parameter(entry.target, name.as_bytes())? {
                Cow::Borrowed(value) => self.mask.apply(value),
                Cow::Owned(value) => self.mask.apply(&value).into_owned().into(),
            }),
            Source::Text(of) => of(entry).map(Cow::Borrowed),
            // These are no texts of others.
            Source::Word(_)
            | Source::Hex(_)
            | Source::Number(_)
            | Source::Millis(_)
            | Source::Bool(_)
            | Source::Client
            | Source::Time
            | Source::UnixTime => None,
        }
    }
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

/// Returns the first parameter of this name, both decoded.
fn parameter<'e>(target: &'e [u8], name: &[u8]) -> Option<Cow<'e, [u8]>> {
    let query = target.get(before(target, b'?').len() + 1..)?;
    let mut pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let written = before(pair, b'=');
        (written, pair.get(written.len() + 1..).unwrap_or_default())
    });
    pairs.find(|(written, _)| *percent_decoded(written) == *name).map(|(_, value)| percent_decoded(value))
}
