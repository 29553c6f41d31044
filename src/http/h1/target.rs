//! The request target, from its bytes to a [`Uri`].

use bytes::Bytes;
use http::Uri;

use crate::http::path::push_escape;

/// Parses a request target (RFC 9112 §3.2). `shared` has the same bytes, which the URI keeps.
///
/// A path may have `<`, `>` and a backtick, and a query may have `"`, `<` and `>`, although no URI has them (RFC 3986
/// §2). Clients that build targets by hand send these characters, nginx and HAProxy let them pass, and browsers send
/// their escapes. Every reader treats a character and its escape alike, so the gateway continues with the escapes.
///
/// # Errors
/// A text for a target that is invalid: one with a fragment, which is never sent (RFC 9112 §3.2) and which [`Uri`]
/// would drop silently, or one of an unknown form.
#[inline]
pub(crate) fn parse_target(target: &str, shared: Bytes) -> Result<Uri, &'static str> {
    if target.as_bytes().contains(&b'#') {
        return Err("fragment in the request target");
    }
    let parsed = Uri::from_maybe_shared(shared).or_else(|error| match escape(target) {
        Some(escaped) => Uri::try_from(escaped),
        None => Err(error),
    });
    parsed.map_err(|_| "bad request target")
}

/// Escapes the characters that no URI has. Returns `None` if there are none.
#[cold]
fn escape(target: &str) -> Option<String> {
    let scheme = if target.starts_with('/') { None } else { target.find("://") };
    let after_scheme = scheme.map_or(0, |at| at + "://".len());
    let path = after_scheme + target.get(after_scheme..)?.find(['/', '?'])?;
    let (origin, rest) = target.split_at_checked(path)?;
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    if !path.contains(['<', '>', '`']) && !query.is_some_and(|query| query.contains(['"', '<', '>'])) {
        return None;
    }
    let mut escaped = String::with_capacity(target.len() + 16);
    escaped.push_str(origin);
    push_escaped(&mut escaped, path, b"<>`");
    if let Some(query) = query {
        escaped.push('?');
        push_escaped(&mut escaped, query, b"\"<>");
    }
    Some(escaped)
}

fn push_escaped(escaped: &mut String, text: &str, forbidden: &[u8]) {
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) if forbidden.contains(&byte) => push_escape(escaped, byte),
            _ => escaped.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_with_characters_of_no_uri_is_that_with_their_escapes() {
        for (target, expected) in [
            ("/a", Ok("/a")),
            ("/a<b>c`d", Ok("/a%3Cb%3Ec%60d")),
            ("/a\"b{c|d}^[e]", Ok("/a\"b{c|d}^[e]")),
            ("/a?b=<c>&d=\"e\"", Ok("/a?b=%3Cc%3E&d=%22e%22")),
            ("/a?`{|}^\\'?", Ok("/a?`{|}^\\'?")),
            ("/<?<?<", Ok("/%3C?%3C?%3C")),
            ("http://a.test/<?>", Ok("http://a.test/%3C?%3E")),
            ("http://a.test?>", Ok("http://a.test/?%3E")),
            ("/a?http://b<c", Ok("/a?http://b%3Cc")),
            ("/é<", Ok("/é%3C")),
            ("http://a<b/c", Err("bad request target")),
            ("http://a<b", Err("bad request target")),
            ("<", Err("bad request target")),
            ("", Err("bad request target")),
            ("/a#<", Err("fragment in the request target")),
        ] {
            let parsed =
                parse_target(target, Bytes::from_static(target.as_bytes())).map(|uri| uri.to_string());
            assert_eq!(parsed.as_deref().map_err(|error| *error), expected, "{target}");
        }
    }
}
