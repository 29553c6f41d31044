//! The logic, which calls nothing of the gateway: `cargo test` runs it natively.

use serde::Deserialize;

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    word: String,
    with: String,
}

impl Replacement {
    /// The body with the word replaced; `None` where it is not in there.
    pub(crate) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let word = self.word.as_bytes();
        let mut replaced = Vec::new();
        let mut rest = body;
        while let Some(at) = rest
            .windows(word.len().max(1))
            .position(|window| window == word)
        {
            let (before, from) = rest.split_at(at);
            replaced.extend_from_slice(before);
            replaced.extend_from_slice(self.with.as_bytes());
            rest = from.get(word.len()..)?;
        }
        if rest.len() == body.len() {
            return None;
        }
        replaced.extend_from_slice(rest);
        Some(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_replaced_and_all_else_stays() {
        let table: [(&str, &str, &[u8], Option<&[u8]>); 6] = [
            ("upstream", "me", b"hello, upstream\n", Some(b"hello, me\n")),
            ("aa", "b", b"aaaaa", Some(b"bba")),
            ("a", "", b"\xffa\xff", Some(b"\xff\xff")),
            ("a", "aa", b"a-a", Some(b"aa-aa")),
            ("a", "b", b"", None),
            ("", "b", b"a", None),
        ];
        for (word, with, body, expected) in table {
            let replacement = Replacement {
                word: word.into(),
                with: with.into(),
            };
            assert_eq!(
                replacement.apply(body).as_deref(),
                expected,
                "{word} {with}"
            );
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_an_error() {
        assert!(serde_json::from_str::<Replacement>(r#"{"word":"a","with":"b"}"#).is_ok());
        assert!(serde_json::from_str::<Replacement>(r#"{"word":"a","wiht":"b"}"#).is_err());
    }
}
