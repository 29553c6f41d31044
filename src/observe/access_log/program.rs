//! The program of a log: what its configuration says about lines, compiled once.

use std::time::Duration;

use http::HeaderName;

use super::encode::{apache, apache_word, number};
use super::entry::Entry;
use super::fields::{FieldWriter, Json, Logfmt, Notation, text_of};
use super::mask::{MASKED, Mask};
use super::source::version;
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
    /// True if the steps are the default fields, in their order, and none is masked.
    has_default_steps: bool,
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
        let steps: Box<[Step]> = match &settings.fields {
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
            has_default_steps: settings.format.has_fields()
                && settings.fields.is_none()
                && !steps.iter().any(|step| step.is_masked),
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
        let mut fields = FieldWriter::<Json>::new(line, texts, entry, &self.mask, cut);
        self.put(&mut fields);
        fields.end();
    }

    fn text(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        self.put(&mut FieldWriter::<Logfmt>::new(line, texts, entry, &self.mask, cut));
    }

    fn put<N: Notation>(&self, fields: &mut FieldWriter<'_, N>) {
        if self.has_default_steps {
            fields.put_default(&self.steps);
        } else {
            self.steps.iter().for_each(|step| fields.put(step));
        }
    }

    /// Appends the Combined Log Format without its newline: the common one, and further values in quotes.
    fn combined(&self, line: &mut Vec<u8>, texts: &mut Texts, entry: &Entry<'_>, cut: usize) {
        self.common(line, texts, entry, cut);
        for step in &self.steps {
            line.extend_from_slice(b" \"");
            match text_of(&step.source, entry, &self.mask) {
                Some(_) if step.is_masked => apache(line, MASKED.as_bytes(), cut),
                Some(text) => apache(line, &text, cut),
                None => line.push(b'-'),
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
