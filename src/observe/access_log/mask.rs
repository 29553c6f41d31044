//! Secrets in queries, which no line shows.

use std::borrow::Cow;

use super::scan::any;

/// The text in the place of a secret.
pub(super) const MASKED: &str = "***";

/// The names of parameters whose values are masked, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask {
    names: Box<[Box<str>]>,
    /// The length of the longest name.
    longest: usize,
}

impl Mask {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut names: Vec<Box<str>> = names.map(|name| name.to_ascii_lowercase().into()).collect();
        names.sort();
        names.dedup();
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        Self { names: names.into(), longest }
    }

    /// Returns a target, or a URL, with the values of these parameters masked.
    ///
    /// Servers differ in where they end a parameter. So a name may follow `?`, `&`, `;` or `#`, also within the path and within the value of
    /// another parameter, and a masked value ends at `&` or `#` only.
    pub(super) fn apply<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if !any(text, precedes_name) {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::new();
        // The part of the text that is not in `masked` yet, and the part of it that is not searched yet.
        let (mut kept, mut rest) = (text, text);
        while let Some(name) = after(rest, precedes_name) {
            let end = name.iter().position(|byte| *byte == b'=' || precedes_name(*byte));
            let Some((name, value)) = end.and_then(|end| name.split_at_checked(end)) else { break };
            rest = value;
            let Some(value) = value.strip_prefix(b"=").filter(|_| self.hides(name)) else { continue };
            let shown = kept.len() - value.len();
            masked.extend_from_slice(kept.get(..shown).unwrap_or_default());
            masked.extend_from_slice(MASKED.as_bytes());
            let end = value.iter().position(|byte| matches!(byte, b'&' | b'#')).unwrap_or(value.len());
            rest = value.get(end..).unwrap_or_default();
            kept = rest;
        }
        if masked.is_empty() {
            return Cow::Borrowed(text);
        }
        masked.extend_from_slice(kept);
        Cow::Owned(masked)
    }

    /// Returns true for a name as it is written in a query, whatever its escapes and its case are. Servers take `token[]` and `token[a]` for
    /// `token`, and ignore spaces before it.
    pub(super) fn hides(&self, written: &[u8]) -> bool {
        let mut name = String::new();
        let mut rest = written;
        while let Some((byte, after)) = decoded(rest) {
            rest = after;
            match byte {
                b'[' if !name.is_empty() => break,
                // Of a space, which a form may write so.
                b' ' | b'\t' | b'+' if name.is_empty() => {}
                _ if name.len() >= self.longest => return false,
                _ => name.push(char::from(byte.to_ascii_lowercase())),
            }
        }
        self.names.iter().any(|known| **known == name)
    }
}

/// Returns true for a byte behind which the name of a parameter may begin.
fn precedes_name(byte: u8) -> bool {
    (byte == b'?') | (byte == b'&') | (byte == b';') | (byte == b'#')
}

/// Returns what follows the first byte of a kind.
fn after(text: &[u8], is_match: impl Fn(u8) -> bool) -> Option<&[u8]> {
    let at = text.iter().position(|byte| is_match(*byte))?;
    text.get(at + 1..)
}

/// Returns a text with its escapes decoded. A `+` stays one.
pub(super) fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut rest = text;
    let bytes = std::iter::from_fn(|| {
        let (byte, after) = decoded(rest)?;
        rest = after;
        Some(byte)
    });
    Cow::Owned(bytes.collect())
}

/// Returns the first byte of a text with escapes, decoded, and the rest.
fn decoded(text: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if let [b'%', high, low, rest @ ..] = text
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        return Some((high << 4 | low, rest));
    }
    text.split_first().map(|(byte, rest)| (*byte, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        let mask = Mask::new(["token", "API_Key"].into_iter());
        String::from_utf8(mask.apply(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn values_of_the_parameters_are_masked_however_their_names_are_written() {
        for (text, expected) in [
            ("/a", "/a"),
            ("/a?b=c&d", "/a?b=c&d"),
            ("/a?token=secret", "/a?token=***"),
            ("/a?b=1&token=secret&c=2", "/a?b=1&token=***&c=2"),
            ("/a?token=secret&token=other#c", "/a?token=***&token=***#c"),
            ("/a?TOKEN=secret&Api_Key=s", "/a?TOKEN=***&Api_Key=***"),
            ("/a?%74oken=secret&%54%6F%6b%65%6e=s", "/a?%74oken=***&%54%6F%6b%65%6e=***"),
            ("/a?token[]=secret&token%5Ba%5D=s&token[", "/a?token[]=***&token%5Ba%5D=***&token["),
            ("/a?+token=secret&%20token=s", "/a?+token=***&%20token=***"),
            ("/a?token=", "/a?token=***"),
            ("/a?token", "/a?token"),
            ("/a?token&b=1", "/a?token&b=1"),
            ("/a?token=a=b&c", "/a?token=***&c"),
            ("/a?token=a;b=c&d=e", "/a?token=***&d=e"),
            ("/a?b=c;token=secret&d", "/a?b=c;token=***&d"),
            ("/a;token=secret?b", "/a;token=***"),
            ("/a?next=/b?token=secret", "/a?next=/b?token=***"),
            ("https://a/#token=secret&b=c", "https://a/#token=***&b=c"),
            ("/a?tokens=1&xtoken=2&toke=3&a[token]=4", "/a?tokens=1&xtoken=2&toke=3&a[token]=4"),
            ("/a?%=1&%7=2&%zz=3&token%=4", "/a?%=1&%7=2&%zz=3&token%=4"),
            ("?&?;#=token=", "?&?;#=token="),
            ("?=&token=a", "?=&token=***"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
        let nothing = Mask::new(std::iter::empty());
        assert!(matches!(nothing.apply(b"/a?token=b&=c"), Cow::Borrowed(_)));
    }

    /// Returns the name with some of its characters escaped and in capitals.
    fn spelled(name: &'static str) -> impl Strategy<Value = String> {
        let character = |byte: u8| {
            prop_oneof![
                Just(char::from(byte).to_string()),
                Just(char::from(byte).to_ascii_uppercase().to_string()),
                Just(format!("%{byte:02x}")),
                Just(format!("%{:02X}", byte.to_ascii_uppercase())),
            ]
        };
        name.bytes().map(character).collect::<Vec<_>>().prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_name_shows_its_value(
            before in "[a-z/?&;=%#\\[\\]+.0-9]{0,20}[?&;]",
            name in spelled("token"),
            after in "([&#][a-z/?&;=%#0-9]{0,20})?",
        ) {
            let text = format!("{before}{name}=SECRET{after}");
            prop_assert!(!masked(&text).contains("SECRET"), "{text}");
        }

        #[test]
        fn text_without_such_a_name_is_not_changed(text in "[a-su-z/?&;=%#0-9]{0,40}") {
            prop_assume!(!text.contains('%'));
            prop_assert_eq!(masked(&text), text);
        }
    }
}
