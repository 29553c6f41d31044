//! Sizes in bytes, as the file writes them.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::amount::{parse_amount, print_amount};
use super::pattern;
use super::text::{Malformed, text_type};

/// A number of bytes above zero, written with its unit: `512B`, `64KiB`, `1MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ByteSize(NonZeroU64);

text_type!(ByteSize, format: "byte-size", pattern: ByteSize::pattern(1, u64::MAX));

/// The units of a size and their bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const SIZE_HELP: &str = "write a whole number and its unit: 512B, 64KiB, 1MiB or 1GiB";

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

#[cfg(test)]
mod tests {
    use super::ByteSize;

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
    fn printed_sizes_parse_to_themselves() {
        for text in ["1B", "1025B", "64KiB", "1MiB", "1GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }
}
