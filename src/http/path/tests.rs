use proptest::prelude::*;

use super::*;
use crate::config::RoutePath;

fn strictly(path: &str) -> Result<Cow<'_, str>, PathError> {
    normalise(path, EncodedSlash::Reject)
}

fn keeping_slashes(path: &str) -> Result<Cow<'_, str>, PathError> {
    normalise(path, EncodedSlash::Keep)
}

#[test]
fn a_path_in_order_is_borrowed() {
    for path in ["/", "/a", "/a/", "//a", "/a//b", "/a.b/c..d/e...", "/a:b@c,d=e", "/~user/x"] {
        assert!(matches!(strictly(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
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
        ("/a\"b<c>d^e`f{g|h}i", "/a%22b%3Cc%3Ed%5Ee%60f%7Bg%7Ch%7Di"),
        ("/%22%3c%7B", "/%22%3C%7B"),
        ("/[a]", "/%5Ba%5D"),
        ("/%5ba%5D", "/%5Ba%5D"),
    ];
    for (path, expected) in cases {
        assert_eq!(strictly(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn ambiguous_paths_are_rejected() {
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
        assert_eq!(strictly(path), Err(expected), "{path:?}");
    }
}

#[test]
fn every_byte_of_a_path_has_one_fate() {
    let of = |byte: u8| strictly(&format!("/a{}b", char::from(byte))).map(Cow::into_owned);
    for byte in 0..0x80 {
        let expected = match byte {
            b'\\' => Err(PathError::Backslash),
            b'%' => Err(PathError::InvalidEscape),
            b'#' | b'?' | 0..=b' ' | 0x7f => Err(PathError::RawCharacter),
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                Ok(format!("/a%{byte:02X}b"))
            }
            _ => Ok(format!("/a{}b", char::from(byte))),
        };
        assert_eq!(of(byte), expected, "{byte:02x}");
    }
    for byte in 0..=u8::MAX {
        let expected = match byte {
            b'/' => Err(PathError::EncodedSlash),
            b'\\' => Err(PathError::Backslash),
            0..0x20 | 0x7f => Err(PathError::ControlCharacter),
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                Ok(format!("/a{}b", char::from(byte)))
            }
            _ => Ok(format!("/a%{byte:02X}b")),
        };
        assert_eq!(strictly(&format!("/a%{byte:02x}b")).map(Cow::into_owned), expected, "%{byte:02x}");
        if byte != b'/' {
            assert_eq!(keeping_slashes(&format!("/a%{byte:02x}b")).map(Cow::into_owned), expected);
        }
    }
}

#[test]
fn a_kept_slash_is_part_of_its_segment_and_hides_no_dot_segment() {
    for (path, expected) in [
        ("/api/queues/%2F/name", Ok("/api/queues/%2F/name")),
        ("/api/queues/%2f/name", Ok("/api/queues/%2F/name")),
        ("/@scope%2fpackage", Ok("/@scope%2Fpackage")),
        ("/a%2Fb/../c", Ok("/c")),
        ("/a%2F%2Fb", Ok("/a%2F%2Fb")),
        ("/a%2F.b%2F..c", Ok("/a%2F.b%2F..c")),
        ("/a%252Fb", Ok("/a%252Fb")),
        ("/a%2F..", Err(PathError::HiddenDotSegment)),
        ("/a%2F..%2Fb", Err(PathError::HiddenDotSegment)),
        ("/..%2Fa", Err(PathError::HiddenDotSegment)),
        ("/a/.%2Fb", Err(PathError::HiddenDotSegment)),
        ("/a%2F%2e%2e/b", Err(PathError::HiddenDotSegment)),
        ("/a%2F..;x%2Fb", Err(PathError::HiddenDotSegment)),
        ("/a%2F..%3Bx", Err(PathError::HiddenDotSegment)),
        ("/a%2F%5Cb", Err(PathError::Backslash)),
        ("/a%2F%00", Err(PathError::ControlCharacter)),
    ] {
        let kept = keeping_slashes(path);
        assert_eq!(kept.as_deref().map_err(|error| *error), expected, "{path}");
        if let Ok(kept) = kept {
            assert_eq!(keeping_slashes(&kept).as_deref(), Ok(&*kept), "normalising again changed it");
            assert_eq!(has_encoded_slash(&kept), kept.contains("%2F"));
        }
    }
    assert!(!has_encoded_slash(&Cow::Borrowed("/a")));
}

proptest! {
    #[test]
    fn normalising_again_changes_nothing_and_leaves_no_dot_segment(
        pieces in proptest::collection::vec(
            proptest::sample::select(&[
                "/", ".", "..", "%2e", "%2E", "%", "2", "5", "e", "a", ";", "%3b", "%25", "%41", "%c3", "é", "%2f", "\"", "{", "%5c", "%0a", "%1f", "%7f", "|",
            ]),
            0..12,
        ),
    ) {
        let path = format!("/{}", pieces.concat());
        for slashes in [EncodedSlash::Reject, EncodedSlash::Keep] {
            let Ok(once) = normalise(&path, slashes) else { continue };
            let again = normalise(&once, slashes);
            prop_assert_eq!(again.as_deref(), Ok(&*once));
            prop_assert!(once.starts_with('/'));
            let decoded = once.replace("%2F", "/");
            prop_assert!(!decoded.split('/').any(|segment| matches!(segment, "." | "..")), "{}", once);
            // And a path that requests can have is one of the configuration, as it is.
            let written = once.parse::<RoutePath>();
            prop_assert_eq!(written.as_ref().map(RoutePath::normal).ok(), Some(&*once));
        }
        // A path of the configuration is one that requests can have.
        if let Ok(written) = path.parse::<RoutePath>() {
            let normal = keeping_slashes(written.normal());
            prop_assert_eq!(normal.as_deref(), Ok(written.normal()));
        }
    }

    #[test]
    fn no_input_panics(path in ".*") {
        let normal = strictly(&path);
        prop_assert!(normal.is_err() || path.starts_with('/'));
    }
}
