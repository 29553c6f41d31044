//! The markers around PEM blocks (RFC 7468 §2), and lines that were meant to be markers.

use super::kind::known_labels;

pub(super) const BEGIN: &str = "-----BEGIN ";
pub(super) const END: &str = "-----END ";
pub(super) const DASHES: &str = "-----";

/// The words of markers, as both [`BEGIN`] and [`END`] have them.
const WORDS: [&str; 2] = ["BEGIN ", "END "];

/// Returns true if a line has a damaged marker: `----BEGIN CERTIFICATE-----`, say, or one whose dashes an editor has
/// made typographic.
///
/// The time is proportional to the length of the line. From each word, only white space and a known label are read, so
/// no character is read for more than two words.
pub(super) fn has_damaged_marker(line: &str) -> bool {
    if !line.contains(is_dash) {
        return false;
    }
    let dashes_at_front = line.len() - line.trim_start_matches(is_dash).len();
    words(line).any(|(at, word)| {
        let (before, behind) =
            (line.get(..at).unwrap_or_default(), line.get(at + word.len()..).unwrap_or_default());
        is_damaged(before, word, behind, at == dashes_at_front)
    })
}

/// Returns the positions of the words of markers, in capitals or not.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    (0..line.len()).filter_map(|at| {
        let behind = line.as_bytes().get(at..)?;
        let starts = |word: &&str| starts_with(behind, word);
        WORDS.iter().find(|word| starts(word)).and_then(|word| Some((at, line.get(at..at + word.len())?)))
    })
}

fn starts_with(text: &[u8], prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Returns true if dashes precede a word and a known label follows it, but not in the form of a marker. If other text
/// precedes the dashes, there must be dashes behind the label as well: `see --- end certificate` is text.
fn is_damaged(before: &str, word: &str, behind: &str, is_first: bool) -> bool {
    if !has_two_dashes(before.trim_end().chars().rev()) {
        return false;
    }
    let behind = behind.trim_start();
    known_labels().any(|label| {
        if !starts_with(behind.as_bytes(), label) {
            return false;
        }
        let (written, after) = behind.split_at_checked(label.len()).unwrap_or((behind, ""));
        let after = after.trim_start();
        let is_whole = before.ends_with(DASHES)
            && WORDS.contains(&word)
            && written == label
            && after.starts_with(DASHES);
        let ends_label = after.is_empty() || after.starts_with(is_dash);
        let has_more = has_two_dashes(after.chars()) || after.chars().nth(1).is_some();
        ends_label && !is_whole && (has_more || is_first)
    })
}

/// Returns true if a text begins with two hyphens or one dash that stands for two.
fn has_two_dashes(mut characters: impl Iterator<Item = char>) -> bool {
    match characters.next() {
        Some('\u{2013}' | '\u{2014}') => true,
        Some(first) => is_dash(first) && characters.next().is_some_and(is_dash),
        None => false,
    }
}

/// Returns true for a hyphen, and for the characters that editors put in place of one or two.
fn is_dash(character: char) -> bool {
    matches!(character, '-' | '\u{2010}' | '\u{2011}' | '\u{2012}' | '\u{2013}' | '\u{2014}' | '\u{2212}')
}

/// Returns true if a line has no words other than those of usual markers.
pub(super) fn has_only_words(line: &str) -> bool {
    const WORDS: [&str; 13] = [
        "begin",
        "end",
        "certificate",
        "private",
        "public",
        "key",
        "rsa",
        "ec",
        "x509",
        "crl",
        "encrypted",
        "trusted",
        "parameters",
    ];
    let words = line.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    line.len() <= 100 && words.into_iter().all(|word| WORDS.contains(&word.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_marker_is_distinguished_from_text_and_from_markers() {
        for (line, is_damaged) in [
            ("-----BEGIN CERTIFICATE-----", false),
            ("-----BEGIN CERTIFICATE -----", false),
            ("-----END CERTIFICATE----------BEGIN CERTIFICATE-----", false),
            ("-----BEGIN CERTIFICATE-----MIIB-----END CERTIFICATE-----", false),
            ("------BEGIN CERTIFICATE-----", false),
            ("-----BEGIN SOMETHING----", false),
            ("see --- end certificate", false),
            ("end certificate", false),
            ("- end certificate -", false),
            ("----BEGIN CERTIFICATE-----", true),
            ("-----BEGIN CERTIFICATE----", true),
            ("-----BEGIN CERTIFICATE", true),
            ("-----BEGIN CERTIFICATE REQUEST----", true),
            ("-----begin CERTIFICATE-----", true),
            ("-----BEGIN certificate-----", true),
            ("----- BEGIN CERTIFICATE -----", true),
            ("see --- end certificate ---", true),
            ("\u{2014}\u{2014}-BEGIN CERTIFICATE\u{2014}\u{2014}-", true),
            ("-----BEGIN CERTIFICATE-----MIIB----END CERTIFICATE-----", true),
            ("-----BEGIN CERTIFICATE-----MIIB-----end CERTIFICATE-----", true),
            ("-----BEGIN PRIVATE KEY----MC4CAQAw-----END PRIVATE KEY-----", true),
        ] {
            assert_eq!(has_damaged_marker(line), is_damaged, "{line}");
        }
    }
}
