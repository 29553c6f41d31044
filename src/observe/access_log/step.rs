//! The steps of a log's program: one for each field of its lines.

use http::{HeaderName, header};

use super::encode::json;
use super::mask::Mask;
use super::source::Source;
use crate::config::{LogField, LogFormat, OwnField};

/// Fields whose values are always masked: they are credentials.
pub(super) const SECRET_HEADERS: [HeaderName; 4] =
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

/// One field of a line.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) source: Source,
    /// True if JSON has the value in quotes.
    pub(super) is_quoted: bool,
    /// True if only the presence of the value is shown.
    pub(super) is_masked: bool,
}

impl PartialEq for Step {
    /// Returns true if both write the same field: a name has one source.
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.is_masked == other.is_masked
    }
}

/// The text before a value: what the format has between two values, and the name. A line has many fields, and it is cheaper to append few
/// long texts than many short ones. So in JSON the quote that ends a value and the one that begins the next are in the key between them, as
/// in `","host":"`. Only after a value with a quote is it appended whole.
///
/// A key of the usual length is copied with its padding, which is then taken off. A copy of a fixed length takes a few instructions, and one
/// of any length a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Short { padded: [u8; KEY_BYTES + SKIPPED_MAX], length: usize },
    Long(Box<[u8]>),
}

/// The number of bytes that are copied for a short key.
const KEY_BYTES: usize = 32;

/// The most bytes that a format skips in a key.
pub(super) const SKIPPED_MAX: usize = 2;

impl Key {
    fn new(text: &[u8]) -> Self {
        let mut padded = [0; KEY_BYTES + SKIPPED_MAX];
        match padded.first_chunk_mut::<KEY_BYTES>().and_then(|start| start.get_mut(..text.len())) {
            Some(start) => {
                start.copy_from_slice(text);
                Self::Short { padded, length: text.len() }
            }
            None => Self::Long(text.into()),
        }
    }

    /// Appends the text without its first bytes, which are at most [`SKIPPED_MAX`].
    #[inline]
    pub(super) fn append(&self, line: &mut Vec<u8>, skipped: usize) {
        match self {
            Self::Short { padded, length } => {
                let rest = padded.get(skipped..).and_then(|rest| rest.first_chunk::<KEY_BYTES>());
                let end = (line.len() + length).saturating_sub(skipped);
                line.extend_from_slice(rest.map_or(&[], <[u8; KEY_BYTES]>::as_slice));
                line.truncate(end);
            }
            Self::Long(text) => line.extend_from_slice(text.get(skipped..).unwrap_or_default()),
        }
    }
}

/// The part of the compiler that changes with each field.
pub(super) struct Compiler<'a> {
    pub(super) format: LogFormat,
    pub(super) secret: &'a [&'a HeaderName],
    pub(super) mask: &'a Mask,
    pub(super) capture: Capture,
}

impl Compiler<'_> {
    pub(super) fn step(&mut self, field: &LogField) -> Step {
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
                (Source::of(*own), header.is_some_and(|name| self.secret.contains(&&name)))
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
        let is_quoted = source.is_quoted();
        Step { key: self.key(&field.to_string(), is_quoted), source, is_quoted, is_masked: secret }
    }

    fn key(&self, name: &str, is_quoted: bool) -> Key {
        let mut key = Vec::new();
        if self.format == LogFormat::Json {
            key.extend_from_slice(b"\",");
            json(&mut key, name.as_bytes(), usize::MAX);
            key.extend_from_slice(if is_quoted { b":\"" } else { b":" });
        } else {
            key.push(b' ');
            // Claims may have these characters in their names.
            key.extend(
                name.bytes().map(|byte| if matches!(byte, b'"' | b'=' | b'\\') { b'_' } else { byte }),
            );
            key.push(b'=');
        }
        Key::new(&key)
    }
}

/// Returns the fields of a log that chooses none, in the order of [`OwnField::ALL`]. Of a format with fixed fields, these are the ones for
/// which an exchange has to keep something, in the order of the format.
pub(super) fn default_fields(format: LogFormat) -> impl Iterator<Item = OwnField> {
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
