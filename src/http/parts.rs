//! Cookies and parameters of a request, as they are written.

use http::{HeaderValue, Uri, header};

use super::fields::Fields;

/// Returns the values of the cookies of this name (RFC 6265 §5.4).
pub(crate) fn cookies<'h, 'n>(
    headers: &'h Fields,
    name: &'n str,
) -> impl Iterator<Item = &'h [u8]> + use<'h, 'n> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| value_of(pair, name))
}

/// Returns the value of a pair of a cookie field if its name is this.
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Returns the names of the cookies, each as often as it is there.
pub(crate) fn cookie_names(headers: &Fields) -> impl Iterator<Item = &[u8]> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(name_of)
}

/// Returns the name in a pair of a cookie field.
fn name_of(pair: &[u8]) -> Option<&[u8]> {
    let pair = pair.trim_ascii();
    pair.get(..pair.iter().position(|byte| *byte == b'=')?)
}

/// Removes the cookies of this name.
pub(crate) fn remove_cookies(headers: &mut Fields, name: &str) {
    remove_cookies_of(headers, |known| known == name.as_bytes());
}

/// Removes the cookies whose names are these.
pub(crate) fn remove_cookies_of(headers: &mut Fields, is_removed: impl Fn(&[u8]) -> bool) {
    if !cookie_names(headers).any(&is_removed) {
        return;
    }
    headers.replace(header::COOKIE, |line| {
        let pairs = line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kept: Vec<&[u8]> = pairs.filter(|pair| !name_of(pair).is_some_and(&is_removed)).collect();
        HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()
    });
    headers.retain(|name, value| name != header::COOKIE || !value.is_empty());
}

/// Returns the values of the parameters of this name, both as they are written.
pub(crate) fn parameters<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q str> {
    query.split('&').filter_map(move |parameter| {
        let (written, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (written == name).then_some(value)
    })
}

/// Returns the target without the parameters of this name; `None` if it has none of them.
pub(crate) fn without_parameter(target: &Uri, name: &str) -> Option<Uri> {
    let query = target.query()?;
    parameters(query, name).next()?;
    let is_other = |parameter: &&str| parameter.split('=').next() != Some(name);
    let kept: Vec<&str> = query.split('&').filter(is_other).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(format!("{}{query}", target.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns the octets of `text` with its escapes decoded.
pub(crate) fn percent_decode(text: &str) -> impl Iterator<Item = u8> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(byte);
        }
        let mut ahead = bytes.clone();
        let mut digit = || char::from(ahead.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return Some(b'%') };
        bytes = ahead;
        u8::try_from(high << 4 | low).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = Fields::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; user=x=y; empty="));
        headers.append(header::COOKIE, HeaderValue::from_static("late=2;user=second"));
        let found = |name: &'static str| {
            cookies(&headers, name).next().map(|value| std::str::from_utf8(value).unwrap())
        };
        let values = ["a", "user", "empty", "late", "use", "er"].map(found);
        assert_eq!(values, [Some("1"), Some("x=y"), Some(""), Some("2"), None, None]);
    }

    #[test]
    fn cookies_are_removed_by_their_whole_name() {
        let mut headers = Fields::written(&[
            ("cookie", "key=1; a=2;key=3"),
            ("cookie", "key=4"),
            ("x-a", "key=5"),
            ("cookie", "monkey=6; key"),
        ]);
        remove_cookies(&mut headers, "key");
        let kept = Fields::written(&[("cookie", "a=2"), ("x-a", "key=5"), ("cookie", "monkey=6; key")]);
        assert_eq!(headers, kept);
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let found = |name: &str| parameters("a=1&user=x&flag&user=y", name).next();
        assert_eq!(["a", "user", "flag", "use"].map(found), [Some("1"), Some("x"), Some(""), None]);
    }

    #[test]
    fn parameters_are_removed_by_their_whole_name() {
        for (target, without) in [
            ("/a?key=1", Some("/a")),
            ("/a?b=1&key=2&c&key", Some("/a?b=1&c")),
            ("http://h/a?key=1&b", Some("http://h/a?b")),
            ("/a?monkey=1", None),
            ("/a", None),
        ] {
            let found = without_parameter(&target.parse().unwrap(), "key");
            assert_eq!(found.map(|target| target.to_string()).as_deref(), without, "{target}");
        }
    }
}
