//! The fields of a line, in the formats that write each with its name.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::slice;
use std::time::UNIX_EPOCH;

use http::HeaderValue;

use super::encode::{hex_digits, json_unquoted, logfmt, millionths, millis, number};
use super::entry::Entry;
use super::mask::{MASKED, Mask, percent_decoded};
use super::source::{Source, before};
use super::step::{SKIPPED_MAX, Step};
use super::texts::Texts;
use crate::config::{FieldVisitor, OwnField};

/// The way in which a format writes fields.
pub(super) trait Notation {
    /// The number of bytes to skip in the first key of a line.
    const SKIPPED_FIRST: usize;
    /// The number of bytes to skip in a key that follows a value without quotes. One that follows a value with quotes is appended whole.
    const SKIPPED_UNQUOTED: usize;

    /// Appends a text that may have any bytes, cut to `cut` of them.
    fn text(line: &mut Vec<u8>, text: &[u8], cut: usize);
}

/// A key is `","name":`, and has the quote of the value if that is in quotes.
pub(super) struct Json;

impl Notation for Json {
    const SKIPPED_FIRST: usize = 2;
    const SKIPPED_UNQUOTED: usize = 1;

    fn text(line: &mut Vec<u8>, text: &[u8], cut: usize) {
        json_unquoted(line, text, cut);
    }
}

/// A key is ` name=`.
pub(super) struct Logfmt;

impl Notation for Logfmt {
    const SKIPPED_FIRST: usize = 1;
    const SKIPPED_UNQUOTED: usize = 0;

    fn text(line: &mut Vec<u8>, text: &[u8], cut: usize) {
        logfmt(line, text, cut);
    }
}

/// A writer of the fields of one line.
pub(super) struct FieldWriter<'l, N> {
    line: &'l mut Vec<u8>,
    texts: &'l mut Texts,
    entry: &'l Entry<'l>,
    mask: &'l Mask,
    cut: usize,
    /// The number of bytes to skip in the next key.
    skipped: usize,
    notation: PhantomData<N>,
}

impl FieldWriter<'_, Json> {
    /// Ends the object.
    pub(super) fn end(self) {
        let is_quoted = self.skipped == 0;
        self.line.extend_from_slice(if is_quoted { b"\"}" } else { b"}" });
    }
}

impl<'l, N: Notation> FieldWriter<'l, N> {
    pub(super) fn new(
        line: &'l mut Vec<u8>,
        texts: &'l mut Texts,
        entry: &'l Entry<'l>,
        mask: &'l Mask,
        cut: usize,
    ) -> Self {
        const { assert!(N::SKIPPED_FIRST <= SKIPPED_MAX && N::SKIPPED_UNQUOTED <= SKIPPED_MAX) }
        Self { line, texts, entry, mask, cut, skipped: N::SKIPPED_FIRST, notation: PhantomData }
    }

    /// Appends the fields of lines that choose none. `steps` are theirs in the order of [`OwnField::visit_default`], and none is masked.
    ///
    /// Most logs have these fields, so this is straight code. [`FieldWriter::put`] jumps by the kind of a field and calls by its pointer, and
    /// the processor guesses many of these wrongly, as a whole request lies between two lines: they took half the time of writing one.
    pub(super) fn put_default(&mut self, steps: &[Step]) {
        OwnField::visit_default(&mut DefaultFields { writer: self, steps: steps.iter() });
    }

    /// Appends a field, if the exchange has it.
    pub(super) fn put(&mut self, step: &Step) {
        if step.is_masked {
            if text_of(&step.source, self.entry, self.mask).is_some() {
                self.text(step, MASKED.as_bytes());
            }
        } else {
            self.put_shown(step, &step.source);
        }
    }

    /// Appends a field that is not masked. Where the compiler knows the source, only the code for its kind is left.
    #[inline(always)]
    fn put_shown(&mut self, step: &Step, source: &Source) {
        let (entry, mask) = (self.entry, self.mask);
        match source {
            Source::Text(of) => {
                if let Some(value) = of(entry) {
                    self.text(step, value);
                }
            }
            Source::Url(of) => {
                if let Some(value) = of(entry) {
                    self.text(step, &mask.apply(value));
                }
            }
            Source::Word(of) => {
                if let Some(value) = of(entry) {
                    self.word(step, value);
                }
            }
            Source::Number(of) => {
                if let Some(value) = of(entry) {
                    self.number(step, value);
                }
            }
            Source::Bool(of) => {
                if let Some(value) = of(entry) {
                    self.word(step, if value { b"true" } else { b"false" });
                }
            }
            Source::Millis(of) => {
                if let Some(value) = of(entry) {
                    self.key(step);
                    millis(self.line, value);
                }
            }
            Source::Hex(of) => {
                if let Some(value) = of(entry) {
                    self.key(step);
                    hex_digits(self.line, value);
                }
            }
            Source::Client => {
                self.key(step);
                self.line.extend_from_slice(self.texts.client.of(entry.client));
            }
            Source::Time => {
                self.key(step);
                let (time, micros) = self.texts.rfc3339.rfc3339(entry.started);
                self.line.extend_from_slice(time.as_bytes());
                millionths(self.line, micros);
                self.line.push(b'Z');
            }
            Source::UnixTime => {
                self.key(step);
                let time = entry.started.duration_since(UNIX_EPOCH).unwrap_or_default();
                number(self.line, time.as_secs());
                millionths(self.line, time.subsec_micros());
            }
            Source::Header(_) | Source::ResponseHeader(_) | Source::Identity(_) | Source::Query(_) => {
                if let Some(value) = text_of(source, entry, mask) {
                    self.text(step, &value);
                }
            }
        }
    }

    // A line has many values of the first three kinds. Their code is not repeated for each, so that it stays in the processor's cache.

    #[inline(never)]
    fn text(&mut self, step: &Step, value: &[u8]) {
        self.key(step);
        N::text(self.line, value, self.cut);
    }

    /// Appends a text that needs no escapes.
    #[inline(never)]
    fn word(&mut self, step: &Step, value: &[u8]) {
        self.key(step);
        self.line.extend_from_slice(value);
    }

    #[inline(never)]
    fn number(&mut self, step: &Step, value: u64) {
        self.key(step);
        number(self.line, value);
    }

    /// Appends the key of a value that follows.
    #[inline]
    fn key(&mut self, step: &Step) {
        step.key.append(self.line, self.skipped);
        self.skipped = if step.is_quoted { 0 } else { N::SKIPPED_UNQUOTED };
    }
}

/// A visitor that appends the default fields. The compiler knows the kind of each.
struct DefaultFields<'f, 'l, N> {
    writer: &'f mut FieldWriter<'l, N>,
    /// The steps of the fields that are still to be visited.
    steps: slice::Iter<'f, Step>,
}

impl<N: Notation> FieldVisitor for DefaultFields<'_, '_, N> {
    #[inline(always)]
    fn visit(&mut self, field: OwnField) {
        if let Some(step) = self.steps.next() {
            self.writer.put_shown(step, &Source::of(field));
        }
    }
}

/// Returns a text that a peer may have chosen, with secrets in it masked; `None` if the exchange has none, or for values of other kinds.
pub(super) fn text_of<'e>(source: &Source, entry: &'e Entry<'_>, mask: &Mask) -> Option<Cow<'e, [u8]>> {
    // A field may be a URL, or have one.
    let field = |captured: Option<&'e Option<HeaderValue>>| Some(mask.apply(captured?.as_ref()?.as_bytes()));
    match source {
        Source::Text(of) => of(entry).map(Cow::Borrowed),
        Source::Url(of) => Some(mask.apply(of(entry)?)),
        Source::Header(index) => field(entry.request_headers.get(*index)),
        Source::ResponseHeader(index) => field(entry.response_headers.get(*index)),
        Source::Identity(index) => Some(Cow::Borrowed(entry.claims.get(*index)?.as_deref()?.as_bytes())),
        Source::Query(name) => Some(match parameter(entry.target, name.as_bytes())? {
            Cow::Borrowed(value) => mask.apply(value),
            Cow::Owned(value) => mask.apply(&value).into_owned().into(),
        }),
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

/// Returns the first parameter of this name, both decoded.
fn parameter<'e>(target: &'e [u8], name: &[u8]) -> Option<Cow<'e, [u8]>> {
    let query = target.get(before(target, b'?').len() + 1..)?;
    let mut pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let written = before(pair, b'=');
        (written, pair.get(written.len() + 1..).unwrap_or_default())
    });
    pairs.find(|(written, _)| *percent_decoded(written) == *name).map(|(_, value)| percent_decoded(value))
}
