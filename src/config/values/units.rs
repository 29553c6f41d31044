//! Durations, sizes and `off`, as the file writes them.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::{fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::pattern;
use super::text::{Malformed, text_type};

/// A length of time above zero, written with its unit: `500ms`, `30s`, `10m`, `1h`, `1d`, or with several units from
/// the largest to the smallest: `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Duration(time::Duration);

/// The longest duration. A day is more than any setting needs, so a longer one is a mistake in the unit.
const DURATION_MAX: time::Duration = time::Duration::from_secs(24 * 60 * 60);

/// The units of a duration and their milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of a size and their bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

text_type!(Duration, format: "duration", pattern: duration_pattern());
text_type!(ByteSize, format: "byte-size", pattern: ByteSize::pattern(1, u64::MAX));

/// Returns a pattern for the durations up to [`DURATION_MAX`].
fn duration_pattern() -> String {
    let part = |maximum: u64, unit: &str| format!("{}{unit}", pattern::number(1, maximum));
    let (minutes, seconds, milliseconds) = (part(59, "m"), part(59, "s"), part(999, "ms"));
    pattern::whole(&pattern::any([
        "0*1d".to_owned(),
        "0*24h".to_owned(),
        format!("{}(?:{minutes})?(?:{seconds})?(?:{milliseconds})?", part(23, "h")),
        "0*1440m".to_owned(),
        format!("{}(?:{seconds})?(?:{milliseconds})?", part(1439, "m")),
        "0*86400s".to_owned(),
        format!("{}(?:{milliseconds})?", part(86_399, "s")),
        part(86_400_000, "ms"),
    ]))
}

impl Duration {
    /// Returns a pattern for the durations of up to a minute.
    pub(crate) fn pattern_to_a_minute() -> String {
        let part = |maximum: u64, unit: &str| format!("{}{unit}", pattern::number(1, maximum));
        pattern::whole(&pattern::any([
            "0*1m".to_owned(),
            "0*60s".to_owned(),
            format!("{}(?:{})?", part(59, "s"), part(999, "ms")),
            part(60_000, "ms"),
        ]))
    }

    /// Creates a duration of whole seconds; 0 becomes the minimum, a millisecond.
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Creates a duration of milliseconds; 0 becomes the minimum, a millisecond.
    pub(crate) const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(if milliseconds == 0 { 1 } else { milliseconds }))
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut rest = text;
        let mut total = 0_u64;
        let mut larger: Option<(&str, u64)> = None;
        while !rest.is_empty() || larger.is_none() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let end = rest
                .get(end..)
                .and_then(|unit| unit.find(|c: char| c.is_ascii_digit()))
                .map(|unit| end + unit);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            let (amount, unit, factor) = parse_amount(part, &DURATION_UNITS, "duration", DURATION_HELP)?;
            if let Some((larger, larger_factor)) = larger {
                if factor >= larger_factor {
                    let message = format!("`{text}` has `{unit}` after `{larger}`");
                    return Err(
                        Malformed::new(message).help("write the largest unit first, and each once: 1m30s")
                    );
                }
                if amount >= larger_factor {
                    let message = format!("`{part}` in `{text}` is more than `1{larger}`");
                    return Err(Malformed::new(message).help(format!("add it to the `{larger}`")));
                }
            }
            total = total.saturating_add(amount);
            (rest, larger) = (after, Some((unit, factor)));
        }
        if total > DURATION_MAX.as_millis().try_into().unwrap_or(u64::MAX) {
            let message = format!("`{text}` is longer than 24h, the longest duration");
            return Err(Malformed::new(message).help("write 24h or less"));
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis().try_into().unwrap_or(u64::MAX);
        print_amount(f, milliseconds, DURATION_UNITS.get(1..).unwrap_or_default())
    }
}

/// A number of bytes above zero, written with its unit: `512B`, `64KiB`, `1MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ByteSize(NonZeroU64);

impl ByteSize {
    /// Returns a pattern for the sizes between two numbers of bytes, both included.
    pub(crate) fn pattern(minimum: u64, maximum: u64) -> String {
        let units = SIZE_UNITS.iter().filter(|(_, factor)| *factor <= maximum);
        let ranges = units.map(|(unit, factor)| {
            let range = pattern::number(minimum.div_ceil(*factor).max(1), maximum / factor);
            format!("{range}{unit}")
        });
        pattern::whole(&pattern::any(ranges))
    }

    /// Creates a size of that many bytes; 0 becomes the minimum, one byte.
    pub(crate) const fn from_bytes(bytes: u64) -> Self {
        match NonZeroU64::new(bytes) {
            Some(bytes) => Self(bytes),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Returns the size in bytes.
    pub(crate) const fn bytes(self) -> u64 {
        self.0.get()
    }

    /// Returns the size in bytes as a length in memory; `usize::MAX` if it does not fit.
    pub(crate) fn length(self) -> usize {
        usize::try_from(self.bytes()).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let size =
            parse_amount(text, &SIZE_UNITS, "size", SIZE_HELP).map(|(bytes, ..)| Self::from_bytes(bytes));
        size.map_err(|malformed| match advise_size(text) {
            Some(help) => malformed.help(help),
            None => malformed,
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_amount(f, self.bytes(), &SIZE_UNITS)
    }
}

const DURATION_HELP: &str = "write a whole number and its unit: 500ms, 30s, 10m, 1h or 1m30s";

const SIZE_HELP: &str = "write a whole number and its unit: 512B, 64KiB, 1MiB or 1GiB";

/// Returns the advice for a size with a decimal unit, or with a unit in the wrong case.
fn advise_size(text: &str) -> Option<String> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    let unit = unit.trim_start();
    let binary = |prefix: &str| format!("{number}{prefix}iB");
    let (prefix, factor) = match unit.to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => return Some(format!("write `{number}B`")),
        "k" | "kb" => ("K", 1000_u64),
        "m" | "mb" => ("M", 1_000_000),
        "g" | "gb" => ("G", 1_000_000_000),
        "kib" | "mib" | "gib" => {
            return Some(format!("write `{}`", binary(&unit.get(..1)?.to_ascii_uppercase())));
        }
        "t" | "tb" | "tib" => return Some(format!("write `{}GiB`", number.checked_mul(1024)?)),
        _ => return None,
    };
    let exact = number.checked_mul(factor)?;
    Some(format!("write `{}`, or `{exact}B` for exactly {exact} bytes", binary(prefix)))
}

/// Parses `<digits><unit>`. Returns the amount in the smallest unit, the unit, and its factor.
fn parse_amount<'u>(
    text: &str,
    units: &[(&'u str, u64)],
    what: &str,
    advice: &str,
) -> Result<(u64, &'u str, u64), Malformed> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let malformed = |message: String| Malformed::new(message).help(advice);
    if digits.is_empty() {
        return Err(malformed(format!("`{text}` is not a {what}")));
    }
    if unit.is_empty() {
        return Err(malformed(format!("`{text}` has no unit")));
    }
    let Some((unit, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(malformed(format!("`{unit}` is not a unit of a {what}")));
    };
    let amount = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    match amount {
        Some(0) => Err(malformed(format!("`{text}` makes no sense here, a {what} is above zero"))),
        Some(amount) => Ok((amount, unit, *factor)),
        None => Err(malformed(format!("`{text}` is too large"))),
    }
}

/// Prints an amount with the largest unit that divides it.
fn print_amount(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    match units.iter().find(|(_, factor)| amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", amount / factor),
        None => write!(f, "{amount}"),
    }
}

/// A setting that the word `off` switches off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OrOff<T> {
    /// Written as `off`.
    #[default]
    Off,
    /// Any value of the setting.
    On(T),
}

impl<T> OrOff<T> {
    /// Returns the value, or `None` for `off`.
    pub(crate) fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }

    /// Returns a reference to the value, or `None` for `off`.
    pub(crate) fn as_on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for OrOff<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Off, Self::On)
    }
}

impl OrOff<Duration> {
    /// Returns the duration as a type of the standard library, or `None` for `off`.
    pub(crate) fn duration(self) -> Option<time::Duration> {
        self.on().map(Into::into)
    }
}

impl OrOff<ByteSize> {
    /// Returns the number of bytes, or `None` for `off`.
    pub(crate) fn bytes(self) -> Option<u64> {
        self.on().map(ByteSize::bytes)
    }
}

impl<T: Serialize> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrOffVisitor(std::marker::PhantomData))
    }
}

/// A visitor that takes the word `off` and passes everything else on to `T`.
struct OrOffVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OrOffVisitor<T> {
    type Value = OrOff<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or `off`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "off" {
            return Ok(OrOff::Off);
        }
        T::deserialize(de::value::StrDeserializer::new(text)).map(OrOff::On)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(de::value::U64Deserializer::new(number)).map(OrOff::On)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(OrOff::On)
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_off", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "const": "off" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, Duration, OrOff};

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            ("1h30m", 5_400_000),
            ("23h59m59s999ms", 86_399_999),
            ("1s1ms", 1001),
            ("90m", 5_400_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "30",
            "0",
            "0s",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "2d",
            "1d1ms",
            "24h1s",
            "1us",
            "25h",
            "1h60m",
            "1m90s",
            "30s1m",
            "1s1s",
            "1h0m",
            "1h30",
            "h1",
            "1m 30s",
            "86401s",
            "86400001ms",
            "99999999999999999999s",
            "18446744073709551615h",
            "\u{661}s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_a_unit_and_are_above_zero() {
        for (text, bytes) in
            [("1B", 1), ("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)), "{text}");
        }
        for text in
            ["", "64", "0B", "64K", "64KB", "64kib", "-1B", "1.5MiB", "1 MiB", "99999999999999999999B"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_with_another_unit_gets_the_nearest_form() {
        for (text, help) in [
            ("10MB", "write `10MiB`, or `10000000B` for exactly 10000000 bytes"),
            ("64k", "write `64KiB`, or `64000B` for exactly 64000 bytes"),
            ("2G", "write `2GiB`, or `2000000000B` for exactly 2000000000 bytes"),
            ("64kib", "write `64KiB`"),
            ("1 MiB", "write `1MiB`"),
            ("7bytes", "write `7B`"),
            ("1TB", "write `1024GiB`"),
            ("1.5MiB", super::SIZE_HELP),
            ("ten", super::SIZE_HELP),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn a_duration_with_several_units_says_what_to_change() {
        for (text, help) in [
            ("30s1m", "write the largest unit first"),
            ("1m90s", "add it to the `m`"),
            ("2d", "write 24h or less"),
            ("1h30", super::DURATION_HELP),
        ] {
            assert!(text.parse::<Duration>().unwrap_err().help.unwrap().contains(help), "{text}");
        }
    }

    #[test]
    fn printed_durations_and_sizes_parse_to_themselves() {
        for text in ["1ms", "1500ms", "90s", "1m", "1h"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        for text in ["1B", "1025B", "64KiB", "1MiB", "1GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn off_is_no_value() {
        let off: OrOff<Duration> = serde_json::from_str(r#""off""#).unwrap();
        let on: OrOff<Duration> = serde_json::from_str(r#""3s""#).unwrap();
        assert_eq!(off.duration(), None);
        assert_eq!(on.duration(), Some(std::time::Duration::from_secs(3)));
        assert_eq!(serde_json::from_str::<OrOff<u32>>("7").unwrap().on(), Some(7));
        assert!(serde_json::from_str::<OrOff<Duration>>("3").is_err());
    }
}
