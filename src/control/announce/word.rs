//! Words of shell commands. A variable of the configuration remains a variable in the shell, because its value may be
//! secret.

/// A text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Variable { name: String, default: Option<Word> },
}

impl Word {
    /// Creates a word without variables.
    pub(super) fn literal(text: &str) -> Self {
        Self(vec![Piece::Literal(text.to_owned())])
    }

    /// Parses a text of a file that was loaded: `${NAME}`, `${NAME:-default}` and `$${` for `${` itself.
    pub(super) fn written(text: &str) -> Self {
        let mut rest = text;
        Self::parse(&mut rest, false)
    }

    fn parse(rest: &mut &str, is_default: bool) -> Self {
        let (mut pieces, mut literal, mut open) = (Vec::new(), String::new(), 0_usize);
        loop {
            if let Some(after) = rest.strip_prefix("$${") {
                literal.push_str("${");
                open += 1;
                *rest = after;
            } else if let Some((variable, after)) =
                rest.strip_prefix("${").and_then(|rest| rest.split_once('}'))
            {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(match variable.split_once(":-") {
                    None => {
                        *rest = after;
                        Piece::Variable { name: variable.to_owned(), default: None }
                    }
                    Some((name, _)) => {
                        *rest = rest.get("${".len() + name.len() + ":-".len()..).unwrap_or_default();
                        let default = Self::parse(rest, true);
                        *rest = rest.strip_prefix('}').unwrap_or(rest);
                        Piece::Variable { name: name.to_owned(), default: Some(default) }
                    }
                });
            } else {
                let mut characters = rest.chars();
                match characters.next() {
                    Some('}') if is_default && open == 0 => break,
                    None => break,
                    Some(next) => {
                        match next {
                            '{' => open += 1,
                            '}' => open = open.saturating_sub(1),
                            _ => {}
                        }
                        literal.push(next);
                    }
                }
                *rest = characters.as_str();
            }
        }
        pieces.push(Piece::Literal(literal));
        pieces.retain(|piece| !matches!(piece, Piece::Literal(literal) if literal.is_empty()));
        Self(pieces)
    }

    pub(super) fn has_variables(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    /// Returns the text outside of variables.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(literal) => Some(literal.as_str()),
            Piece::Variable { .. } => None,
        })
    }

    /// Returns true if the text begins with this literal character.
    pub(super) fn starts_with(&self, first: char) -> bool {
        matches!(self.0.first(), Some(Piece::Literal(literal)) if literal.starts_with(first))
    }

    /// Returns true if the text ends with this literal character.
    pub(super) fn ends_with(&self, last: char) -> bool {
        matches!(self.0.last(), Some(Piece::Literal(literal)) if literal.ends_with(last))
    }

    /// Changes the text outside of variables, and their defaults.
    pub(super) fn map(self, change: &dyn Fn(&str) -> String) -> Self {
        let pieces = self.0.into_iter().map(|piece| match piece {
            Piece::Literal(literal) => Piece::Literal(change(&literal)),
            Piece::Variable { name, default } => {
                Piece::Variable { name, default: default.map(|default| default.map(change)) }
            }
        });
        Self(pieces.collect())
    }

    pub(super) fn push(&mut self, text: &str) {
        self.0.push(Piece::Literal(text.to_owned()));
    }

    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the word for a POSIX shell, with quotes if it needs them. The shell expands variables in double quotes
    /// and does not split their values.
    pub(super) fn quoted(&self) -> String {
        if self.has_variables() {
            return format!("\"{}\"", self.escaped("\"\\$`").replace('!', "\"'!'\""));
        }
        quoted(&self.literals().collect::<String>())
    }

    /// Returns the text with a backslash before each special character that is not part of a variable.
    fn escaped(&self, special: &str) -> String {
        let mut escaped = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => {
                    for character in literal.chars() {
                        escaped.extend(special.contains(character).then_some('\\'));
                        escaped.push(character);
                    }
                }
                Piece::Variable { name, default } => {
                    let default = default.as_ref().map(|default| format!(":-{}", default.escaped("\"\\$`}")));
                    escaped.extend(["${", name, default.as_deref().unwrap_or_default(), "}"]);
                }
            }
        }
        escaped
    }
}

/// Returns a text as a word for a POSIX shell, in quotes if it needs them.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@%+,".contains(&byte);
    let needs_none = !text.is_empty() && !text.starts_with('~') && text.bytes().all(is_plain);
    if needs_none { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_is_what_a_shell_with_its_variables_reads() {
        for (written, quoted, read) in [
            ("", "''", ""),
            ("a.test:81", "a.test:81", "a.test:81"),
            ("it's", "'it'\\''s'", "it's"),
            ("a b", "'a b'", "a b"),
            ("$${KEY}", "'${KEY}'", "${KEY}"),
            ("${KEY}", "\"${KEY}\"", "it's \"$HOME\" `x`"),
            ("a${NONE:-b}c", "\"a${NONE:-b}c\"", "abc"),
            ("${NONE:-${KEY}}", "\"${NONE:-${KEY}}\"", "it's \"$HOME\" `x`"),
            ("${NONE:-{\"a\":1}}", "\"${NONE:-{\\\"a\\\":1\\}}\"", "{\"a\":1}"),
            ("\"$x`\\${B}!", "\"\\\"\\$x\\`\\\\${B}\"'!'\"\"", "\"$x`\\b!"),
        ] {
            let word = Word::written(written).quoted();
            assert_eq!(word, quoted, "{written}");
            let mut shell = std::process::Command::new("sh");
            let variables = [("KEY", "it's \"$HOME\" `x`"), ("B", "b")];
            let output = shell.args(["-c", &format!("printf %s {word}")]).envs(variables).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), read, "{written}");
        }
    }
}
