//! `${NAME}` and `${NAME:-default}` in texts.

use std::borrow::Cow;

use super::text::Malformed;

/// Puts the environment's values into a text. `${NAME}` must be set, `${NAME:-default}` takes its default
/// where the variable is not set or empty, `$${` is `${` itself; any other `$` stands for itself. What comes
/// in is not looked through again.
pub(super) fn substitute<'a>(
    text: &'a str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Cow<'a, str>, Malformed> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once('}') else {
            return Err(
                Malformed::new("`${` without its `}`").help("write `$${` for the two characters themselves")
            );
        };
        result.push_str(before);
        result.push_str(&look_up(inside, environment)?);
        rest = after;
    }
    result.push_str(rest);
    Ok(Cow::Owned(result))
}

/// The value of what stands between the braces.
fn look_up(inside: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Malformed> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(Malformed::new(format!("`{name}` is not the name of an environment variable"))
            .help("write `${NAME}` or `${NAME:-default}`"));
    }
    match (environment(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Malformed::new(format!("the environment variable `{name}` is not set"))
            .help(format!("set it, or write a default: `${{{name}:-…}}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::substitute;

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_put_in() {
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
            ("$A $ $$", "$A $ $$"),
            ("${NESTED}", "${A}"),
        ] {
            assert_eq!(substitute(text, &environment).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_is_an_error() {
        for text in ["${B}", "${", "${A", "${}", "${:-x}", "${1}", "${a b}", "${A-x}"] {
            assert!(substitute(text, &environment).is_err(), "{text}");
        }
    }
}
