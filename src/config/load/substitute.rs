//! The variables `${NAME}` and `${NAME:-default}` in texts.

use std::borrow::Cow;
use std::ffi::OsString;

use crate::config::values::text::Malformed;

/// The depth to which defaults may nest.
const DEPTH_MAX: usize = 16;

/// The maximum size of all values with variables in one file: the limit for a file.
pub(crate) const SUBSTITUTED_BYTES_MAX: usize = 16 << 20;

/// The environment: returns the value of a variable, if it is set.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Replaces the variables of a text by their values. A text without `${` is returned as it is.
///
/// `${NAME}` must be set. `${NAME:-default}` is the default if the variable is not set or empty. The default may have
/// variables of its own, and its other braces must be balanced. `$${` stands for `${` itself, and any other `$` for
/// itself. Values are not searched for variables.
///
/// # Errors
/// A variable that is not set or not UTF-8, an invalid name, unbalanced braces, or a result of more than `bytes_max`.
pub(crate) fn substitute<'a>(
    text: &'a str,
    environment: Environment<'_>,
    bytes_max: usize,
) -> Result<Cow<'a, str>, Malformed> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expander = Expander { rest: text, environment, bytes_max, result: String::new() };
    expander.text(0, true)?;
    Ok(Cow::Owned(expander.result))
}

struct Expander<'a, 'e> {
    rest: &'a str,
    environment: Environment<'e>,
    bytes_max: usize,
    result: String,
}

impl<'a> Expander<'a, '_> {
    /// Expands to the end, or within a variable to the brace that ends its default. `is_used` is false for a default
    /// that is only checked: its variables need not be set.
    fn text(&mut self, depth: usize, is_used: bool) -> Result<(), Malformed> {
        // Open braces of the default itself, as in `${BODY:-{"ok":true}}`.
        let mut open = 0_usize;
        loop {
            let next = self.rest.find(['$', '{', '}']).unwrap_or(self.rest.len());
            self.copy(next, is_used)?;
            if let Some(rest) = self.rest.strip_prefix("$${") {
                self.push("${", is_used)?;
                self.rest = rest;
                open += 1;
            } else if let Some(rest) = self.rest.strip_prefix("${") {
                self.rest = rest;
                self.variable(depth + 1, is_used)?;
            } else if self.rest.is_empty() {
                return if depth == 0 { Ok(()) } else { Err(unclosed()) };
            } else {
                match self.rest.as_bytes().first() {
                    Some(b'}') if depth > 0 && open == 0 => return Ok(()),
                    Some(b'}') => open = open.saturating_sub(1),
                    Some(b'{') => open += 1,
                    _ => {}
                }
                self.copy(1, is_used)?;
            }
        }
    }

    /// Expands a variable, whose `${` has been read, to its closing brace.
    fn variable(&mut self, depth: usize, is_used: bool) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed::new(format!("variables nest deeper than {DEPTH_MAX} levels")));
        }
        let end = self.rest.find('}').ok_or_else(unclosed)?;
        // The search is limited to the variable: searching the rest for each one would be quadratic.
        let default = self.rest.get(..end).and_then(|variable| variable.find(":-"));
        let (name, after) = self.rest.split_at(default.unwrap_or(end));
        if !is_name(name) {
            let message = format!("`{name}` is not the name of an environment variable");
            return Err(Malformed::new(message).help("write `${NAME}` or `${NAME:-default}`"));
        }
        self.rest = after;
        let value = if is_used { self.look_up(name)? } else { None };
        if default.is_some() {
            self.rest = self.rest.strip_prefix(":-").unwrap_or(self.rest);
            let value = value.filter(|value| !value.is_empty());
            self.text(depth, is_used && value.is_none())?;
            self.push(value.as_deref().unwrap_or_default(), is_used)?;
        } else {
            match value {
                Some(value) => self.push(&value, is_used)?,
                None if is_used => {
                    let help = format!("set it, or write a default: `${{{name}:-…}}`");
                    let message = format!("the environment variable `{name}` is not set");
                    return Err(Malformed::new(message).help(help));
                }
                None => {}
            }
        }
        self.rest = self.rest.strip_prefix('}').ok_or_else(unclosed)?;
        Ok(())
    }

    fn look_up(&self, name: &str) -> Result<Option<String>, Malformed> {
        let Some(value) = (self.environment)(name) else { return Ok(None) };
        value.into_string().map(Some).map_err(|_| {
            Malformed::new(format!("the value of the environment variable `{name}` is not UTF-8"))
                .help("set it to text, or take it out of the file")
        })
    }

    /// Copies bytes of the text to the result.
    fn copy(&mut self, bytes: usize, is_used: bool) -> Result<(), Malformed> {
        let (text, rest): (&'a str, _) = self.rest.split_at(bytes);
        self.rest = rest;
        self.push(text, is_used)
    }

    fn push(&mut self, text: &str, is_used: bool) -> Result<(), Malformed> {
        if !is_used {
            return Ok(());
        }
        if self.result.len() + text.len() > self.bytes_max {
            return Err(Malformed::new("the values of variables make the file larger than 16MiB"));
        }
        self.result.push_str(text);
        Ok(())
    }
}

fn unclosed() -> Malformed {
    Malformed::new("`${` without its `}`").help("close it, or write `$${` for the two characters themselves")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    use super::{SUBSTITUTED_BYTES_MAX, substitute};
    use crate::config::values::text::Malformed;

    fn environment(name: &str) -> Option<OsString> {
        let value: &[u8] = match name {
            "A" => b"1",
            "EMPTY" => b"",
            "NESTED" => b"${A}",
            "BRACE" => b"}",
            "LATIN" => b"caf\xe9",
            _ => return None,
        };
        Some(OsStr::from_bytes(value).to_owned())
    }

    fn substituted(text: &str) -> Result<String, Malformed> {
        substitute(text, &environment, SUBSTITUTED_BYTES_MAX).map(Into::into)
    }

    #[test]
    fn a_variable_is_replaced_by_its_value() {
        for (text, result) in [
            ("plain", "plain"),
            ("${A}", "1"),
            ("x${A}y${A}z", "x1y1z"),
            ("${B:-2}", "2"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-2}", "2"),
            ("${B:-a:-b}", "a:-b"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $ $$", "$A $ $$"),
            ("${NESTED}", "${A}"),
            ("${BRACE}", "}"),
            ("{\"a\": ${A}}", "{\"a\": 1}"),
            ("} ${A} {", "} 1 {"),
            ("é${A}é", "é1é"),
        ] {
            assert_eq!(substituted(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn a_default_may_have_variables_and_balanced_braces() {
        for (text, result) in [
            ("${B:-${A}}", "1"),
            ("${B:-${C:-${A}}}", "1"),
            ("${B:-${C:-3}}", "3"),
            ("${B:-x${A}y${EMPTY:-z}}}", "x1yz}"),
            ("${A:-${B}}", "1"),
            ("${EMPTY:-${B:-}}", ""),
            ("${B:-{\"a\": [${A}, {}]}}", "{\"a\": [1, {}]}"),
            ("${B:-$${A}}", "${A}"),
            ("${B:-${NESTED}}", "${A}"),
            ("${B:-${BRACE}}", "}"),
            ("${B:-$ $$ $A}", "$ $$ $A"),
        ] {
            assert_eq!(substituted(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn a_variable_that_has_no_value_or_no_end_is_an_error() {
        for text in [
            "${B}",
            "${",
            "${A",
            "${}",
            "${:-x}",
            "${1}",
            "${a b}",
            "${A-x}",
            "${é}",
            "${A:-",
            "${A:-${B}",
            "${B:-${C}}",
            "${B:-{}",
            "${A:-${B-x}}",
            "${${A}}",
            "${B:-$${}",
        ] {
            assert!(substituted(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_an_error_even_with_a_default() {
        for text in ["${LATIN}", "${LATIN:-x}", "${B:-${LATIN}}"] {
            let message = substituted(text).unwrap_err().message;
            assert_eq!(message, "the value of the environment variable `LATIN` is not UTF-8", "{text}");
        }
        // Variables in an unused default are not resolved.
        assert_eq!(substituted("${A:-${LATIN}}").as_deref(), Ok("1"));
    }

    #[test]
    fn the_depth_and_the_size_of_a_result_are_bounded() {
        let nested = |depth: usize| format!("{}x{}", "${B:-".repeat(depth), "}".repeat(depth));
        assert_eq!(substituted(&nested(16)).as_deref(), Ok("x"));
        assert!(substituted(&nested(17)).unwrap_err().message.contains("nest deeper than 16"));
        assert!(substituted(&nested(100_000)).is_err());
        assert!(substitute("${A}${A}", &environment, 2).is_ok());
        assert!(substitute("${A}${A}", &environment, 1).is_err());
    }
}
