//! Brings the path of a request into the one form that is matched *and* forwarded.
//!
//! A path that two readers could take for two different ones is refused: an access rule that sees `/public/x`
//! while the upstream serves `/admin` is worth more to an attacker than the request was to its sender.

use std::borrow::Cow;

/// Why a path is refused. The answer to each is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/` (RFC 9112 §3.2.1).
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits after it (RFC 3986 §2.1).
    #[error("the path has a `%` that no two hexadecimal digits follow")]
    InvalidEscape,
    /// `%2F`: a border of segments for those who decode before they split, a plain octet for the others.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`: a border of segments to some servers.
    #[error("the path has a backslash")]
    Backslash,
    /// An encoded control character, NUL among them: it ends the path for those who keep it in a C string.
    #[error("the path has an encoded control character")]
    ControlCharacter,
    /// An octet that has to be escaped in a path: a control, a space, `#`, `?`, anything but ASCII (RFC 3986
    /// §3.3).
    #[error("the path has a character that must be percent-encoded")]
    RawCharacter,
    /// A segment such as `..;` or `.;x`: a dot segment to servers that cut parameters off before they resolve
    /// dots.
    #[error("the path has a dot segment hidden before a `;`")]
    HiddenDotSegment,
    /// More `..` than segments before them.
    #[error("the path climbs above its root")]
    ClimbsAboveRoot,
}

impl PathError {
    /// A name for logs, metrics and `x-gateway-error` that stays the same from version to version.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path.not_absolute",
            Self::InvalidEscape => "path.invalid_escape",
            Self::EncodedSlash => "path.encoded_slash",
            Self::Backslash => "path.backslash",
            Self::ControlCharacter => "path.control_character",
            Self::RawCharacter => "path.raw_character",
            Self::HiddenDotSegment => "path.hidden_dot_segment",
            Self::ClimbsAboveRoot => "path.climbs_above_root",
        }
    }
}

/// Normalises the path of a request target, without its query, once (RFC 3986 §6.2.2):
///
/// - escapes of unreserved characters are decoded (`%7Euser` → `~user`, `%2e` → `.`); the digits of the
///   others become upper case (`%c3` → `%C3`), and they stay escapes;
/// - then dot segments are removed (§5.2.4).
///
/// Empty segments stay: `//a` and `/a` are different paths, to the routes and to the upstream alike.
/// Normalising again changes nothing. A path in which there is nothing to do, as nearly all are, is borrowed.
///
/// # Errors
/// [`PathError`] where the path cannot be read in one way only. `*`, which only OPTIONS may ask for, is
/// [`PathError::NotAbsolute`]: whoever allows it has to look before.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    if !decoded.contains("/.") {
        return Ok(Cow::Owned(decoded));
    }
    remove_dot_segments(&decoded).map(Cow::Owned)
}

/// Whether nothing in an absolute path needs a closer look. It reads to the end rather than stopping early,
/// since a loop without a way out is one that the compiler turns into SIMD.
fn is_normal(path: &[u8]) -> bool {
    let pairs = path.iter().zip(path.iter().skip(1));
    !pairs
        .fold(false, |found, (before, byte)| found | !is_plain(*byte) | ((*before == b'/') & (*byte == b'.')))
}

/// Visible ASCII without the characters that [`decode_unreserved`] and [`remove_dot_segments`] judge by their
/// context.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() & !matches!(byte, b'%' | b'\\' | b';' | b'#' | b'?')
}

fn decode_unreserved(path: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (hex_digit(bytes.next()), hex_digit(bytes.next())) else {
                    return Err(PathError::InvalidEscape);
                };
                push_escaped(&mut decoded, high << 4 | low)?;
            }
            b'\\' => return Err(PathError::Backslash),
            b'#' | b'?' => return Err(PathError::RawCharacter),
            _ if byte.is_ascii_graphic() => decoded.push(char::from(byte)),
            _ => return Err(PathError::RawCharacter),
        }
    }
    Ok(decoded)
}

fn hex_digit(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends what an escape of `byte` stands for: the octet itself where it is unreserved (RFC 3986 §2.3), else
/// the escape.
fn push_escaped(path: &mut String, byte: u8) -> Result<(), PathError> {
    match byte {
        b'/' => return Err(PathError::EncodedSlash),
        b'\\' => return Err(PathError::Backslash),
        _ if byte.is_ascii_control() => return Err(PathError::ControlCharacter),
        b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
        _ if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
        _ => push_escape(path, byte),
    }
    Ok(())
}

/// Appends `byte` as `%XX`.
fn push_escape(path: &mut String, byte: u8) {
    path.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        path.push(char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }));
    }
}

/// RFC 3986 §5.2.4, but for `..` at the root, which that section drops and which is refused here.
fn remove_dot_segments(path: &str) -> Result<String, PathError> {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment_kind(segment)? {
            SegmentKind::Name => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
            SegmentKind::Here => {}
            SegmentKind::Parent => {
                let parent = resolved.rfind('/').ok_or(PathError::ClimbsAboveRoot)?;
                resolved.truncate(parent);
            }
        }
        // What a dot segment at the end names is a folder: `/a/b/..` is `/a/`.
        if segments.peek().is_none() {
            resolved.push('/');
        }
    }
    Ok(resolved)
}

enum SegmentKind {
    Name,
    Here,
    Parent,
}

fn segment_kind(segment: &str) -> Result<SegmentKind, PathError> {
    if !segment.starts_with('.') {
        return Ok(SegmentKind::Name);
    }
    let name = segment.split(';').next().unwrap_or(segment);
    let name = name.split("%3B").next().unwrap_or(name);
    match name {
        "." | ".." if name.len() < segment.len() => Err(PathError::HiddenDotSegment),
        "." => Ok(SegmentKind::Here),
        ".." => Ok(SegmentKind::Parent),
        _ => Ok(SegmentKind::Name),
    }
}

/// Brings a path of the configuration into the form in which requests have it. People may write it as they
/// read it: a space and what is not ASCII are escaped first, so that `/café` finds `/caf%C3%A9`.
///
/// # Errors
/// [`PathError`], as for a request.
pub fn normalise_written(path: &str) -> Result<String, PathError> {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte == b' ' || !byte.is_ascii() {
            push_escape(&mut escaped, byte);
        } else {
            escaped.push(char::from(byte));
        }
    }
    normalise(&escaped).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_in_order_is_borrowed() {
        for path in ["/", "/a", "/a/", "//a", "/a//b", "/a.b/c..d/e...", "/a:b@c,d=e", "/~user/{x}"] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn dots_and_escapes_are_resolved_once() {
        let cases = [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/.", "/"),
            ("/a/..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a//../b", "/a/b"),
            ("/.//b", "//b"),
            ("/%7Euser/%41%2d%5f", "/~user/A-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b%25", "/a%20b%25"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%25%34%31", "/%2541"),
            ("/a%3bb/c;d", "/a%3Bb/c;d"),
            ("/a;/../b", "/b"),
            ("/.../.well-known", "/.../.well-known"),
            ("/...;x/y", "/...;x/y"),
            ("/;x/.a;b", "/;x/.a;b"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalise(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let cases = [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("/%", PathError::InvalidEscape),
            ("/%4", PathError::InvalidEscape),
            ("/%zz", PathError::InvalidEscape),
            ("/%+1", PathError::InvalidEscape),
            ("/%%34%31", PathError::InvalidEscape),
            ("/a%2fb", PathError::EncodedSlash),
            ("/a%2Fb", PathError::EncodedSlash),
            ("/a\\b", PathError::Backslash),
            ("/a%5cb", PathError::Backslash),
            ("/a%00", PathError::ControlCharacter),
            ("/a%0d%0a", PathError::ControlCharacter),
            ("/a%7f", PathError::ControlCharacter),
            ("/a b", PathError::RawCharacter),
            ("/a\0", PathError::RawCharacter),
            ("/a\r\n", PathError::RawCharacter),
            ("/café", PathError::RawCharacter),
            ("/a#b", PathError::RawCharacter),
            ("/a?b", PathError::RawCharacter),
            ("/a/..;/b", PathError::HiddenDotSegment),
            ("/a/.;x/b", PathError::HiddenDotSegment),
            ("/a/..;x=y;z", PathError::HiddenDotSegment),
            ("/a/..%3b/b", PathError::HiddenDotSegment),
            ("/a/%2e%2E%3Bx;y/b", PathError::HiddenDotSegment),
            ("/..", PathError::ClimbsAboveRoot),
            ("/../a", PathError::ClimbsAboveRoot),
            ("/a/../../b", PathError::ClimbsAboveRoot),
            ("/a/%2e%2e/%2e%2e/b", PathError::ClimbsAboveRoot),
        ];
        for (path, expected) in cases {
            assert_eq!(normalise(path), Err(expected), "{path:?}");
        }
    }

    #[test]
    fn a_written_path_may_have_spaces_and_letters_of_any_script() {
        assert_eq!(normalise_written("/café au lait").as_deref(), Ok("/caf%C3%A9%20au%20lait"));
        assert_eq!(normalise_written("/a/../b").as_deref(), Ok("/b"));
        assert_eq!(normalise_written("/a%2fb"), Err(PathError::EncodedSlash));
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing_and_leaves_no_dot_segment(
            pieces in proptest::collection::vec(
                proptest::sample::select(&[
                    "/", ".", "..", "%2e", "%2E", "%", "2", "5", "e", "a", ";", "%3b", "%25", "%41", "%c3", "é",
                ]),
                0..12,
            ),
        ) {
            let path = format!("/{}", pieces.concat());
            if let Ok(once) = normalise(&path) {
                let again = normalise(&once);
                prop_assert_eq!(again.as_deref(), Ok(&*once));
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")), "{}", once);
            }
        }

        #[test]
        fn no_input_panics(path in ".*") {
            let normal = normalise(&path);
            prop_assert!(normal.is_err() || path.starts_with('/'));
        }
    }
}
