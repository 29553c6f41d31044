//! The context of a trace, as requests carry it (W3C Trace Context, level 2).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use crate::observe::hex;

/// The field of the trace and the parent.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The field of what tracing systems add, which is passed on as it is.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00, and of the known part of a later one: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

/// The flag of a trace whose caller may have recorded it (§3.2.2.5).
const SAMPLED: u8 = 1;

/// The flag of a trace whose identifier has 56 random bits at its end.
const RANDOM: u8 = 2;

/// The identifier of a trace, which is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TraceId([u8; 16]);

/// The identifier of a span, which is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanId([u8; 8]);

/// The place of a request in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: TraceId,
    /// The span that sent the request.
    pub(crate) span_id: SpanId,
    /// The flags of version 00. All others are zero.
    flags: u8,
}

impl TraceId {
    /// Returns a random identifier.
    fn random() -> Self {
        Self(random().to_be_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the 56 bits that are random in every trace of level 2.
    pub(crate) fn randomness(&self) -> u64 {
        u128::from_be_bytes(self.0) as u64 & ((1 << 56) - 1)
    }
}

impl SpanId {
    /// Returns a random identifier.
    pub(crate) fn random() -> Self {
        Self((random() as u64).to_be_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// A number of this process. A worker's generator has 64 bits of state, and its seed is a time: two processes that began at once would
/// draw the same identifiers.
static SALT: LazyLock<u128> = LazyLock::new(|| {
    let state = RandomState::new();
    let draw = |number: u8| u128::from(state.hash_one(number));
    draw(0) << 64 | draw(1)
});

/// Returns a random number whose lower half is not zero.
fn random() -> u128 {
    loop {
        let drawn = fastrand::u128(..) ^ *SALT;
        if drawn as u64 != 0 {
            return drawn;
        }
    }
}

impl TraceContext {
    /// Begins a trace.
    pub(crate) fn new() -> Self {
        Self { trace_id: TraceId::random(), span_id: SpanId::random(), flags: RANDOM }
    }

    /// Parses a `traceparent`. A later version is read as far as version 00 knows it (§3.2.4). Returns `None` if it is not valid: it is
    /// then ignored, and a new trace begins.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let [v1, v2, b'-', trace_id @ ..] = value.get(..LENGTH)? else { return None };
        let (trace_id, rest) = trace_id.split_at_checked(32)?;
        let [b'-', rest @ ..] = rest else { return None };
        let (span_id, rest) = rest.split_at_checked(16)?;
        let [b'-', f1, f2] = rest else { return None };
        let version = byte(*v1, *v2)?;
        let is_complete = match version {
            0 => value.len() == LENGTH,
            0xff => false,
            _ => value.get(LENGTH).is_none_or(|next| *next == b'-'),
        };
        let (trace_id, span_id) = (parse_hex::<16>(trace_id)?, parse_hex::<8>(span_id)?);
        let is_valid = is_complete && trace_id != [0; 16] && span_id != [0; 8];
        let flags = byte(*f1, *f2)? & (SAMPLED | RANDOM);
        is_valid.then_some(Self { trace_id: TraceId(trace_id), span_id: SpanId(span_id), flags })
    }

    /// Returns true if the sender may have recorded the trace.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the flags of version 00.
    pub(crate) fn flags(&self) -> u8 {
        self.flags
    }

    /// Returns the context with the flag of a recorded trace, or without it.
    pub(crate) fn with_sampled(self, is_sampled: bool) -> Self {
        Self { flags: self.flags & !SAMPLED | if is_sampled { SAMPLED } else { 0 }, ..self }
    }

    /// Returns the context of what another span of the trace sends.
    pub(crate) fn of_span(self, span_id: SpanId) -> Self {
        Self { span_id, ..self }
    }

    /// Returns true if a `traceparent` is one of this trace. It is valid.
    pub(crate) fn is_of_trace(&self, value: &HeaderValue) -> bool {
        Self::parse(value.as_bytes()).is_some_and(|other| other.trace_id == self.trace_id)
    }

    /// Returns true if a `traceparent` is what [`TraceContext::to_value`] returns.
    pub(crate) fn is_written_as(&self, value: &HeaderValue) -> bool {
        value.as_bytes() == self.text()
    }

    /// Returns the value of `traceparent`, of version 00.
    pub(crate) fn to_value(self) -> HeaderValue {
        // It consists of digits and dashes.
        HeaderValue::from_bytes(&self.text()).unwrap_or(const { HeaderValue::from_static("-") })
    }

    fn text(&self) -> [u8; LENGTH] {
        let mut text = [b'-'; LENGTH];
        // Version, trace, parent and flags, with a dash between them (§3.2).
        write_hex(&mut text, 0, &[0]);
        write_hex(&mut text, 3, &self.trace_id.0);
        write_hex(&mut text, 36, &self.span_id.0);
        write_hex(&mut text, 53, &[self.flags]);
        text
    }
}

/// Writes bytes as digits at a place of a text.
fn write_hex(text: &mut [u8; LENGTH], at: usize, bytes: &[u8]) {
    let places = text.get_mut(at..).unwrap_or_default();
    let (fours, rest) = bytes.as_chunks::<4>();
    let (eights, places) = places.split_at_mut_checked(8 * fours.len()).unwrap_or_default();
    for (place, bytes) in eights.as_chunks_mut::<8>().0.iter_mut().zip(fours) {
        *place = hex::digits(*bytes);
    }
    for (place, byte) in places.as_chunks_mut::<2>().0.iter_mut().zip(rest) {
        *place = hex::two_digits(*byte);
    }
}

/// Parses lower-case digits; upper-case ones are not valid (§3.2.2).
fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (to, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = byte(*high, *low)?;
    }
    Some(bytes)
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// Prints and serialises an identifier as its digits.
macro_rules! shown_as_digits {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

shown_as_digits!(TraceId);
shown_as_digits!(SpanId);

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn traceparent_is_read_as_the_specification_says() {
        let parsed = |text: &str| {
            let context = TraceContext::parse(text.as_bytes())?;
            assert_eq!(
                (context.trace_id.to_string(), context.span_id.to_string()),
                (TRACE.into(), SPAN.into())
            );
            Some(context.flags)
        };
        for (text, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(0)),
            (format!("00-{TRACE}-{SPAN}-03"), Some(3)),
            // Unknown flags are not passed on.
            (format!("00-{TRACE}-{SPAN}-ff"), Some(3)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), Some(1)),
            (format!("01-{TRACE}-{SPAN}-09-"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01.what"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("00-{TRACE}-{SPAN}-01-more"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("0-{TRACE}-{SPAN}-01"), None),
            (format!("0x-{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00-{TRACE}-{SPAN}-0G"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}{SPAN}-01"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (String::new(), None),
            ("\u{e9}".repeat(40), None),
        ] {
            assert_eq!(parsed(&text), flags, "{text}");
        }
    }

    #[test]
    fn context_is_written_as_it_is_read() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let context = TraceContext::parse(text.as_bytes()).unwrap();
        assert_eq!(context.to_value(), text);
        assert!(context.is_written_as(&context.to_value()));
        assert!(!context.is_written_as(&HeaderValue::from_str(&format!("00-{TRACE}-{SPAN}-81")).unwrap()));
        assert_eq!(context.with_sampled(false).to_value(), format!("00-{TRACE}-{SPAN}-00"));
        let new = TraceContext::new();
        assert_eq!(TraceContext::parse(new.to_value().as_bytes()), Some(new));
        assert!(!new.is_sampled() && new.with_sampled(true).is_sampled() && new != TraceContext::new());
        let child = context.of_span(SpanId::random());
        assert!(context.is_of_trace(&child.to_value()) && !context.is_of_trace(&new.to_value()));
    }

    #[test]
    fn randomness_is_the_last_seven_bytes() {
        let text = format!("00-ffffffffffffffff01000000000000a5-{SPAN}-00");
        assert_eq!(TraceContext::parse(text.as_bytes()).unwrap().trace_id.randomness(), 0xa5);
    }
}
