//! Normalisation of a request's path into the one form that is matched *and* forwarded.
//!
//! A path that two readers could take for two different ones is rejected. An access rule that sees `/public/x` while
//! the upstream serves `/admin` is worth more to an attacker than such a request is to an honest sender.

use std::borrow::Cow;

pub(crate) use crate::config::EncodedSlash;

/// The reason for which a path is rejected. The response to each is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// The path does not begin with `/` (RFC 9112 §3.2.1).
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits after it (RFC 3986 §2.1).
    #[error("the path has a `%` without two hexadecimal digits after it")]
    InvalidEscape,
    /// `%2F`: a segment separator to servers that decode before they split, a plain octet to the others.
    #[error(
        "the path has an encoded slash, which a route accepts only with `paths: {{ encoded_slash: keep }}`"
    )]
    EncodedSlash,
    /// `\` or `%5C`: a segment separator to some servers.
    #[error("the path has a backslash")]
    Backslash,
    /// An encoded control character. NUL is one, and it ends the path in programs that keep it in a C string.
    #[error("the path has an encoded control character")]
    ControlCharacter,
    /// An octet that must be escaped in a path: a control character, a space, `#`, `?`, or anything but ASCII (RFC 3986 §3.3).
    #[error("the path has a character that must be percent-encoded")]
    RawCharacter,
    /// A segment such as `..;` or `.;x`, which is a dot segment to servers that cut off parameters before they resolve
    /// dots. With encoded slashes, `..%2Fx` is one, too: servers that decode before they split see a dot segment.
    #[error("the path has a dot segment hidden before a `;` or beside an encoded slash")]
    HiddenDotSegment,
    /// More `..` than segments before them.
    #[error("the path climbs above its root")]
    ClimbsAboveRoot,
}

impl PathError {
    /// Returns a name for logs, metrics and `x-gateway-error` that stays the same from version to version.
    pub(crate) fn reason(self) -> &'static str {
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

/// Normalises the path of a request target, without its query, exactly once (RFC 3986 §6.2.2):
///
/// - Escapes of unreserved characters are decoded (`%7Euser` → `~user`, `%2e` → `.`). All others stay escapes, with
///   their digits in upper case (`%c3` → `%C3`).
/// - Visible characters that no path of a URI has (`"<>^` and backtick, `{|}`, `[]`) become their escapes, which every
///   reader takes for the same.
/// - Then dot segments are removed (§5.2.4).
///
/// Empty segments stay: `//a` and `/a` are different paths, to the routes and to the upstream alike. Normalising again
/// changes nothing. A path that needs no change is borrowed, and nearly all paths are.
///
/// # Errors
/// [`PathError`] if the path can be read in more than one way. `*`, which only OPTIONS may request, is
/// [`PathError::NotAbsolute`]: a caller that allows it has to check first.
pub(crate) fn normalise(path: &str, slashes: EncodedSlash) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    normalise_slowly(path, slashes).map(Cow::Owned)
}

/// Returns true if a normalised path has an encoded slash. A borrowed one has no escape at all.
#[allow(clippy::ptr_arg, reason = "a borrowed path needs no search: it has no escape")]
pub(crate) fn has_encoded_slash(path: &Cow<'_, str>) -> bool {
    matches!(path, Cow::Owned(path) if path.contains(ENCODED_SLASH))
}

const ENCODED_SLASH: &str = "%2F";

fn normalise_slowly(path: &str, slashes: EncodedSlash) -> Result<String, PathError> {
    let decoded = decode_unreserved(path, slashes)?;
    if !decoded.contains("/.") && !decoded.contains("%2F.") {
        return Ok(decoded);
    }
    remove_dot_segments(&decoded)
}

/// Returns true if nothing in an absolute path needs a closer look.
#[allow(clippy::indexing_slicing, reason = "the table has an entry for each byte")]
fn is_normal(path: &[u8]) -> bool {
    let mut before = b'/';
    path.iter().skip(1).all(|byte| {
        let begins_with_dot = before == b'/' && *byte == b'.';
        before = *byte;
        PLAIN[usize::from(*byte)] && !begins_with_dot
    })
}

/// True for visible ASCII without the characters that [`decode_unreserved`] and [`remove_dot_segments`] judge by their
/// context. It is a table because most paths are short: comparing each byte with each of those characters costs four
/// times as much.
#[allow(clippy::indexing_slicing, reason = "the loop ends with the table")]
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] =
            !matches!(byte, b'%' | b';' | b'#' | b'?' | b'\\') && !is_foreign_to_paths(byte);
        byte += 1;
    }
    plain
};

fn decode_unreserved(path: &str, slashes: EncodedSlash) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (hex_digit(bytes.next()), hex_digit(bytes.next())) else {
                    return Err(PathError::InvalidEscape);
                };
                push_escaped(&mut decoded, high << 4 | low, slashes)?;
            }
            b'\\' => return Err(PathError::Backslash),
            b'#' | b'?' => return Err(PathError::RawCharacter),
            _ if is_foreign_to_paths(byte) => push_escape(&mut decoded, byte),
            _ if byte.is_ascii_graphic() => decoded.push(char::from(byte)),
            _ => return Err(PathError::RawCharacter),
        }
    }
    Ok(decoded)
}

/// Returns true for a visible character that no path of a URI has (RFC 3986 §3.3). A normalised path has its escape instead.
pub(crate) const fn is_foreign_to_paths(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Returns true for an unreserved octet (RFC 3986 §2.3). A normalised path has no escape of one.
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Returns the value of a hexadecimal digit, or `None` if there is no byte or it is another one.
pub(crate) fn hex_digit(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends the normal form of an escaped `byte`: the octet itself if it is unreserved (RFC 3986 §2.3), else its escape.
fn push_escaped(path: &mut String, byte: u8, slashes: EncodedSlash) -> Result<(), PathError> {
    match byte {
        b'/' if slashes == EncodedSlash::Keep => path.push_str(ENCODED_SLASH),
        b'/' => return Err(PathError::EncodedSlash),
        b'\\' => return Err(PathError::Backslash),
        _ if byte.is_ascii_control() => return Err(PathError::ControlCharacter),
        _ if is_unreserved(byte) => path.push(char::from(byte)),
        _ => push_escape(path, byte),
    }
    Ok(())
}

/// Appends `byte` as `%XX`.
pub(crate) fn push_escape(path: &mut String, byte: u8) {
    path.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        path.push(char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }));
    }
}

/// Removes dot segments (RFC 3986 §5.2.4). Unlike that section, which drops a `..` at the root, it rejects such a path.
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
        // A dot segment at the end names a folder: `/a/b/..` is `/a/`.
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
    if !segment.contains(ENCODED_SLASH) {
        return piece_kind(segment);
    }
    for piece in segment.split(ENCODED_SLASH) {
        if !matches!(piece_kind(piece)?, SegmentKind::Name) {
            return Err(PathError::HiddenDotSegment);
        }
    }
    Ok(SegmentKind::Name)
}

/// Returns the kind of the text between two slashes, one of which may be encoded.
fn piece_kind(segment: &str) -> Result<SegmentKind, PathError> {
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

#[cfg(test)]
mod tests;
