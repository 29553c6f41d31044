//! Characters that look like others, or are invisible. They come from word processors and web pages.

/// A look-alike in a text, and the text that was probably meant.
pub(crate) struct LookAlike {
    /// The name of the character, as in "a zero-width space (U+200B)".
    pub(crate) name: String,
    /// The text with each look-alike replaced by what was meant.
    pub(crate) meant: String,
}

impl LookAlike {
    /// Returns the advice: what the text has, and what to write.
    pub(crate) fn advice(&self) -> String {
        format!("it has {}: write `{}`", self.name, self.meant)
    }
}

/// Finds the first character of a text that is probably a mistake, if there is one.
pub(crate) fn find(text: &str) -> Option<LookAlike> {
    let (first, (noun, _)) = text.chars().find_map(|character| Some((character, meaning(character)?)))?;
    let meant = text.chars().fold(String::new(), |mut meant, character| {
        match meaning(character) {
            Some((_, Some(ascii))) => meant.push(ascii),
            Some((_, None)) => {}
            None => meant.push(character),
        }
        meant
    });
    // Typographic quotes around a text were meant as YAML's.
    let quoted = ['"', '\''].into_iter().find_map(|quote| meant.strip_prefix(quote)?.strip_suffix(quote));
    let meant = quoted.unwrap_or(&meant).trim().to_owned();
    Some(LookAlike { name: format!("{noun} (U+{:04X})", u32::from(first)), meant })
}

/// Returns the name of a look-alike, and the character that was meant; none if it is invisible.
fn meaning(character: char) -> Option<(&'static str, Option<char>)> {
    Some(match character {
        '\u{200b}' => ("a zero-width space", None),
        '\u{200c}' | '\u{200d}' | '\u{2060}' => ("a zero-width joiner", None),
        '\u{feff}' => ("a byte order mark", None),
        '\u{ad}' => ("a soft hyphen", None),
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            ("a mark for the direction of text", None)
        }
        '\u{a0}' | '\u{202f}' => ("a no-break space", Some(' ')),
        '\u{2000}'..='\u{200a}' | '\u{205f}' | '\u{3000}' => ("a wide or thin space", Some(' ')),
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => ("a typographic quote", Some('"')),
        '\u{2018}'..='\u{201b}' | '\u{2039}' | '\u{203a}' => ("a typographic quote", Some('\'')),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => ("a dash", Some('-')),
        '\u{2026}' => ("an ellipsis", Some('.')),
        '\u{ff01}'..='\u{ff5e}' => {
            ("a full-width character", char::from_u32(u32::from(character) - 0xff01 + 0x21))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_look_alike_is_named_with_what_was_meant() {
        for (text, advice) in [
            ("127.0.0.1:80\u{200b}", "it has a zero-width space (U+200B): write `127.0.0.1:80`"),
            ("30\u{a0}s", "it has a no-break space (U+00A0): write `30 s`"),
            ("\u{201c}api.example\u{201d}", "it has a typographic quote (U+201C): write `api.example`"),
            ("x\u{2013}id", "it has a dash (U+2013): write `x-id`"),
            ("\u{feff}routes", "it has a byte order mark (U+FEFF): write `routes`"),
            ("api\u{ff0e}example", "it has a full-width character (U+FF0E): write `api.example`"),
        ] {
            assert_eq!(find(text).unwrap().advice(), advice);
        }
        for text in ["plain", "b\u{fc}cher", "\u{6f22}\u{5b57}", ""] {
            assert!(find(text).is_none(), "{text}");
        }
    }
}
