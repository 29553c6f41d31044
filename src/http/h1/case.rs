//! The letter case of field names on the wire (`header_case: preserve`).
//!
//! Names are compared without case (RFC 9110 §5.1) and kept in lower case. A head is written in lower case, too. If an
//! upstream needs the sender's letter case, the names are changed in place afterwards, since a name has the same length
//! in every case. All other heads cost one comparison.

/// Names whose usual letter case is something other than a capital at the beginning of each word.
const UNUSUAL: [&str; 10] = [
    "Content-MD5",
    "DNT",
    "ETag",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "TE",
    "WWW-Authenticate",
    "X-Real-IP",
];

/// Changes the names in the lines of the message that begins at `start`, except its first line. Each name gets the
/// letter case that it has in `received`, the head that the message came with, or its usual one if it is not in there.
#[cold]
pub(super) fn recase(written: &mut [u8], start: usize, received: &[u8]) {
    let mut received = Received { head: received, next: 0 };
    let lines = written.get_mut(start..).unwrap_or_default().split_mut(|byte| *byte == b'\n');
    for line in lines.skip(1) {
        // The empty line at the end has no name.
        let Some(length) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line.get_mut(..length).unwrap_or_default();
        match received.find(name) {
            Some(found) => copy(found, name),
            None => capitalise(name),
        }
    }
}

/// A received head that is searched for names.
struct Received<'a> {
    head: &'a [u8],
    /// The start of the line behind the last match. Most fields are written in the order in which they arrived, so this
    /// line usually has the next name. The lines of a repeated name are found one after the other.
    next: usize,
}

impl<'a> Received<'a> {
    /// Returns `name` in the letter case of the first matching line behind the last match, or else of the first
    /// matching line in the whole head.
    fn find(&mut self, name: &[u8]) -> Option<&'a [u8]> {
        let head = self.head;
        let (before, after) = head.split_at_checked(self.next).unwrap_or((head, b""));
        let mut next = self.next;
        for line in after.split_inclusive(|byte| *byte == b'\n') {
            next += line.len();
            if let Some(found) = name_of(line, name) {
                // Host is written first, wherever it stood.
                if name != b"host" {
                    self.next = next;
                }
                return Some(found);
            }
        }
        before.split_inclusive(|byte| *byte == b'\n').find_map(|line| name_of(line, name))
    }
}

/// Returns the name of the field in `line` if it equals `name`, ignoring case.
fn name_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    (rest.first() == Some(&b':') && start.eq_ignore_ascii_case(name)).then_some(start)
}

/// Gives a name in lower case its usual letter case.
fn capitalise(name: &mut [u8]) {
    if let Some(unusual) = UNUSUAL.iter().find(|unusual| unusual.as_bytes().eq_ignore_ascii_case(name)) {
        return copy(unusual.as_bytes(), name);
    }
    let mut begins = true;
    for byte in name {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = !byte.is_ascii_alphanumeric();
    }
}

/// Overwrites `name` with `from`, which has the same length.
fn copy(from: &[u8], name: &mut [u8]) {
    for (to, from) in name.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the names of the `written` lines, which stand behind other bytes in lower case, after they were recased
    /// by a head with the `received` lines.
    fn recased(written: &[&str], received: &[&str]) -> Vec<String> {
        let before = "HTTP/1.1 103 early: hints\r\nlink: a\r\n\r\n";
        let lines: String = written.iter().map(|name| format!("{name}: Value: X-b\r\n")).collect();
        let mut head = format!("{before}GET /a:b HTTP/1.1\r\n{lines}\r\n").into_bytes();
        let received = format!("GET http://x/ HTTP/1.1\r\n{}\r\n\r\n", received.join("\r\n"));
        recase(&mut head, before.len(), received.as_bytes());
        let head = String::from_utf8(head).unwrap();
        let lines = head.strip_prefix(before).unwrap().strip_prefix("GET /a:b HTTP/1.1\r\n").unwrap();
        let lines = lines.strip_suffix("\r\n").unwrap().lines();
        lines.map(|line| line.strip_suffix(": Value: X-b").unwrap().to_owned()).collect()
    }

    #[test]
    fn names_have_the_letter_case_of_the_head_that_was_received() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 9] = [
            (&["host", "x-id"], &["hOST:a", "X-ID: 1"], &["hOST", "X-ID"]),
            // Each line of a repeated name has its own case, even if lines between them were removed or the gateway adds one.
            (&["x-a", "x-a", "x-b"], &["X-a:1", "Gone: 1", "x-A: 2", "X-B:"], &["X-a", "x-A", "X-B"]),
            (&["x-a", "x-a", "x-a"], &["x-A: 1", "X-A: 2"], &["x-A", "X-A", "x-A"]),
            // Host comes first, wherever it stood.
            (&["host", "x-a", "x-a"], &["X-a: 1", "HOST: a", "x-A: 2"], &["HOST", "X-a", "x-A"]),
            // The gateway moves a field to the end.
            (
                &["b", "content-length", "a"],
                &["CONTENT-length: 1", "A: 1", "B: 1"],
                &["B", "CONTENT-length", "A"],
            ),
            // A name that is part of another name does not match it.
            (&["x", "x-a"], &["X-A: 1", "X-A-B: 1"], &["X", "X-A"]),
            (&["x_user_id"], &["X_USER_id: 1"], &["X_USER_id"]),
            // Values are not names, and neither is the request line.
            (&["x-b", "http"], &["A: X-b: 1"], &["X-B", "Http"]),
            (&["via", "x-forwarded-for"], &[], &["Via", "X-Forwarded-For"]),
        ];
        for (written, received, expected) in cases {
            assert_eq!(recased(written, received), expected, "{written:?} {received:?}");
        }
    }

    #[test]
    fn names_that_were_not_received_have_their_usual_letter_case() {
        for (name, expected) in [
            ("content-length", "Content-Length"),
            ("etag", "ETag"),
            ("te", "TE"),
            ("www-authenticate", "WWW-Authenticate"),
            ("sec-websocket-key", "Sec-WebSocket-Key"),
            ("x-real-ip", "X-Real-IP"),
            ("x_user_id", "X_User_Id"),
            ("x--2a-b", "X--2a-B"),
            ("-", "-"),
        ] {
            assert_eq!(recased(&[name], &[]), [expected]);
        }
        for name in UNUSUAL {
            assert_eq!(recased(&[&name.to_ascii_lowercase()], &[]), [name]);
        }
    }

    proptest! {
        #[test]
        fn recased_heads_differ_from_the_written_ones_in_letter_case_alone(
            written in "([a-z_-]{1,3}: [ -~]{0,4}\r\n){0,6}\r\n",
            received in prop_oneof![
                "[!-~ ]{0,9}\r?\n([A-Za-z_-]{1,3}:[ -~]{0,4}\r?\n){0,6}\r\n".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..60),
            ],
            start in 0..9usize,
        ) {
            let before = format!("HTTP/1.1 200 Fine\r\n{written}").into_bytes();
            let mut after = before.clone();
            recase(&mut after, start, &received);
            prop_assert!(after.eq_ignore_ascii_case(&before));
            let values = |head: &[u8]| -> Vec<Vec<u8>> {
                let lines = head.split(|byte| *byte == b'\n').map(|line| {
                    let name = line.iter().position(|byte| *byte == b':').unwrap_or(0);
                    line.get(name..).unwrap().to_vec()
                });
                lines.collect()
            };
            prop_assert_eq!(values(&after), values(&before));
        }
    }
}
