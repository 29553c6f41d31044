//! Regular expressions for the JSON Schema, generated from the bounds and grammars of the parsers.
//!
//! They use the common subset of ECMA 262 and Rust's `regex`, and look-ahead.

/// A label of a host name: letters, digits, `-` and `_` (RFC 1123 §2.1).
const LABEL: &str = "[0-9A-Za-z_-]{1,63}";

/// The characters of a token (RFC 9110 §5.6.2).
pub(crate) const TOKEN: &str = "[0-9A-Za-z!#$%&'*+.^_`|~-]+";

/// Anchors a pattern to the whole of a text.
pub(crate) fn whole(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

/// Returns a pattern for any of several patterns.
pub(crate) fn any<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> String {
    let patterns: Vec<String> = patterns.into_iter().map(|pattern| pattern.as_ref().to_owned()).collect();
    match patterns.as_slice() {
        [only] => only.clone(),
        _ => format!("(?:{})", patterns.join("|")),
    }
}

/// Returns a pattern for a decimal number within bounds, both included, with any number of leading zeros.
pub(crate) fn number(minimum: u64, maximum: u64) -> String {
    format!("0*{}", number_without_zeros(minimum, maximum))
}

/// Returns a pattern for a decimal number within bounds, both included, without leading zeros.
pub(crate) fn number_without_zeros(minimum: u64, maximum: u64) -> String {
    let mut ranges = Vec::new();
    // The numbers of digits after the first one, for those lengths whose numbers are all within the bounds.
    let mut whole: Option<(usize, usize)> = None;
    let mut first = minimum;
    while first <= maximum {
        let digits = first.to_string().len();
        let power = u32::try_from(digits).ok().and_then(|digits| 10_u64.checked_pow(digits));
        let last = power.map_or(maximum, |next| maximum.min(next - 1));
        if last.checked_add(1) == power && power.is_some() && first == last / 10 + 1 {
            whole = Some((whole.map_or(digits - 1, |(least, _)| least), digits - 1));
        } else {
            ranges.push(same_length(&first.to_string(), &last.to_string()));
        }
        let Some(next) = last.checked_add(1) else { break };
        first = next;
    }
    ranges.extend(whole.map(|(least, most)| format!("[1-9]{}", digits(least, most))));
    any(ranges)
}

/// Returns a pattern for a count of digits within bounds.
fn digits(least: usize, most: usize) -> String {
    match (least, most) {
        (0, 0) => String::new(),
        (1, 1) => "[0-9]".to_owned(),
        _ if least == most => format!("[0-9]{{{least}}}"),
        _ => format!("[0-9]{{{least},{most}}}"),
    }
}

/// Returns a pattern for the numbers between two with the same number of digits.
fn same_length(first: &str, last: &str) -> String {
    let (Some(low), Some(high)) = (first.chars().next(), last.chars().next()) else {
        return String::new();
    };
    let (first_rest, last_rest) = (first.get(1..).unwrap_or_default(), last.get(1..).unwrap_or_default());
    let rest = first_rest.len();
    if low == high {
        return format!("{low}{}", same_length(first_rest, last_rest));
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (low, high);
    if first_rest.contains(|digit| digit != '0') {
        ranges.push(format!("{low}{}", same_length(first_rest, &"9".repeat(rest))));
        from = next(low);
    }
    if last_rest.contains(|digit| digit != '9') {
        ranges.push(format!("{high}{}", same_length(&"0".repeat(rest), last_rest)));
        to = previous(high);
    }
    if from <= to {
        let digit = if from == to { from.to_string() } else { format!("[{from}-{to}]") };
        ranges.push(format!("{digit}{}", digits(rest, rest)));
    }
    any(ranges)
}

fn next(digit: char) -> char {
    char::from_u32(u32::from(digit) + 1).unwrap_or(digit)
}

fn previous(digit: char) -> char {
    char::from_u32(u32::from(digit) - 1).unwrap_or(digit)
}

/// Returns a pattern for a port, from 1.
pub(crate) fn port() -> String {
    number(1, u16::MAX.into())
}

/// Returns a pattern for an IPv4 address.
pub(crate) fn ipv4() -> String {
    let octet = number_without_zeros(0, 255);
    format!("{octet}(?:\\.{octet}){{3}}")
}

/// Returns a pattern for an IPv6 address without brackets (RFC 4291 §2.2).
pub(crate) fn ipv6() -> String {
    let (group, ipv4) = ("[0-9A-Fa-f]{1,4}", ipv4());
    let complete = [format!("{group}(?::{group}){{7}}"), format!("(?:{group}:){{6}}{ipv4}")];
    // `::` stands for at least one group.
    let shortened = (0..=7).map(|before: usize| {
        let head = match before {
            0 => String::new(),
            _ => format!("{group}(?::{group}){{{}}}", before - 1),
        };
        let tail = match 7 - before {
            0 => String::new(),
            1 => format!("(?:{group})?"),
            room => {
                format!("(?:{group}(?::{group}){{0,{}}}|(?:{group}:){{0,{}}}{ipv4})?", room - 1, room - 2)
            }
        };
        format!("{head}::{tail}")
    });
    any(complete.into_iter().chain(shortened))
}

/// Returns a pattern for a host name.
pub(crate) fn host_name() -> String {
    format!("(?=[^:]{{1,253}}(?::|$)){LABEL}(?:\\.{LABEL})*")
}

/// Returns a pattern for a host name that ends at the end of a text or at a path.
pub(crate) fn host_name_before_path() -> String {
    format!("(?=[^/]{{1,253}}(?:/|$)){LABEL}(?:\\.{LABEL})*")
}

/// Returns a pattern for a host name before a port, a path, or another host of a list.
pub(crate) fn host_name_in_list() -> String {
    format!("(?=[^:/,]{{1,253}}(?:[:/,]|$)){LABEL}(?:\\.{LABEL})*")
}

#[cfg(test)]
mod tests {
    use super::{ipv4, ipv6, number, number_without_zeros, whole};

    fn matches(pattern: &str, text: &str) -> bool {
        let schema = serde_json::json!({ "type": "string", "pattern": whole(pattern) });
        jsonschema::validator_for(&schema).unwrap().is_valid(&text.into())
    }

    #[test]
    fn a_number_is_within_its_bounds() {
        for (minimum, maximum) in
            [(0, 0), (0, 255), (1, 59), (7, 1439), (64, 4_194_304), (65_536, 86_400_000)]
        {
            let pattern = number_without_zeros(minimum, maximum);
            let near = |bound: u64| bound.saturating_sub(12)..=bound + 12;
            let powers = (0..9).map(|power| 10_u64.pow(power));
            let numbers = near(minimum).chain(near(maximum)).chain(powers.flat_map(near));
            for number in numbers {
                let is_within = (minimum..=maximum).contains(&number);
                assert_eq!(matches(&pattern, &number.to_string()), is_within, "{number}: {pattern}");
            }
        }
        let all = number(1, u64::MAX);
        assert!(matches(&all, "0018446744073709551615") && !matches(&all, "18446744073709551616"));
        assert!(!matches(&all, "0") && !matches(&all, ""));
    }

    #[test]
    fn an_ip_address_is_one_that_the_standard_library_reads() {
        for text in ["0.0.0.0", "255.255.255.255", "256.0.0.1", "01.2.3.4", "1.2.3", "1.2.3.4.5", "1.2.3.a"] {
            assert_eq!(matches(&ipv4(), text), text.parse::<std::net::Ipv4Addr>().is_ok(), "{text}");
        }
        for text in [
            "::",
            "::1",
            "1::",
            "1::2",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7",
            "1::2::3",
            ":::",
            ":1",
            "1:",
            "12345::",
            "::1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1:2:3:4:5::1.2.3.4",
            "1:2:3:4:5:6::1.2.3.4",
            "::1.2.3",
            "::ffff:1.2.3.4:1",
            "g::",
            "1:2:3:4:5:6::8",
            "1:2:3:4:5:6:7::8",
            "",
        ] {
            assert_eq!(matches(&ipv6(), text), text.parse::<std::net::Ipv6Addr>().is_ok(), "{text}");
        }
    }
}
