//! An event stream (`text/event-stream`), line by line. Calls nothing of the gateway, so that `cargo test` runs it natively.

use serde::Deserialize;
use std::rc::Rc;

/// Bytes of a line that is held until its end comes. A longer line passes unchanged.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The filter's configuration: in the data of each event, `text` becomes `with`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    text: String,
    with: String,
}

impl Replacement {
    /// Returns a line as it goes on. Only `data` changes: `id`, `event`, `retry` and comments steer the client.
    fn apply(&self, line: &[u8]) -> Vec<u8> {
        match str::from_utf8(line) {
            Ok(line) if line.starts_with("data:") && !self.text.is_empty() => {
                let (name, value) = line.split_at("data:".len());
                [name, &value.replace(&self.text, &self.with)].concat().into_bytes()
            }
            _ => line.to_vec(),
        }
    }
}

/// Returns true for the media type of event streams, whatever its parameters.
pub(crate) fn is_event_stream(media_type: &[u8]) -> bool {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// A stream on its way through the filter.
pub(crate) struct EventStream {
    replacement: Rc<Replacement>,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    /// The line is too long to hold: what is left of it passes.
    passes_line: bool,
}

impl EventStream {
    pub(crate) fn new(replacement: Rc<Replacement>) -> Self {
        Self { replacement, held: Vec::new(), passes_line: false }
    }

    /// Takes a chunk, which may begin and end anywhere, and returns all lines that are complete with it.
    pub(crate) fn pass(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(self.held.len() + chunk.len());
        // Lines end with LF, CR LF or CR. After CR, a LF is an empty line here, which comes to the same.
        for part in chunk.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, end) = match part.split_last() {
                Some((end @ (b'\n' | b'\r'), line)) => (line, Some(*end)),
                _ => (part, None),
            };
            if self.passes_line {
                passed.extend_from_slice(line);
            } else {
                self.held.extend_from_slice(line);
            }
            if let Some(end) = end {
                passed.extend(self.end());
                passed.push(end);
                self.passes_line = false;
            } else if self.held.len() > LINE_BYTES_MAX {
                passed.append(&mut self.held);
                self.passes_line = true;
            }
        }
        passed
    }

    /// Returns what is held of a line that ends here.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.replacement.apply(&std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> EventStream {
        EventStream::new(Rc::new(Replacement { text: "secret".into(), with: "***".into() }))
    }

    #[test]
    fn data_changes_wherever_the_stream_is_cut() {
        let text = "event: secret\r\ndata: a secret, secret\n: secret\rdata:secret\r\n\r\nid: secret\n\ndata: secret";
        let expected = "event: secret\r\ndata: a ***, ***\n: secret\rdata:***\r\n\r\nid: secret\n\ndata: ***";
        for size in 1..=text.len() {
            let mut stream = stream();
            let mut passed: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|chunk| stream.pass(chunk)).collect();
            passed.extend(stream.end());
            assert_eq!(String::from_utf8_lossy(&passed), expected, "in chunks of {size}");
        }
    }

    #[test]
    fn complete_event_goes_on_at_once() {
        let mut stream = stream();
        assert_eq!(stream.pass(b"data: secret 1\n\ndata: sec"), b"data: *** 1\n\n");
        assert_eq!(stream.pass(b"ret 2\n\n"), b"data: *** 2\n\n");
        assert_eq!(stream.end(), b"");
    }

    #[test]
    fn long_line_and_bytes_that_are_no_text_pass_unchanged() {
        let mut stream = stream();
        let long = [&b"data: "[..], &b"secret ".repeat(LINE_BYTES_MAX / 7)].concat();
        let mut passed = stream.pass(&long);
        passed.extend(stream.pass(b"secret\ndata: secret\ndata: \xff secret\n"));
        let expected = [&long[..], b"secret\ndata: ***\ndata: \xff secret\n"].concat();
        assert_eq!(passed, expected);
    }

    #[test]
    fn event_stream_is_known_by_its_media_type() {
        for (media_type, is) in [
            (&b"text/event-stream"[..], true),
            (b"Text/Event-Stream ; charset=utf-8", true),
            (b"text/event-streams", false),
            (b"text/plain", false),
            (b"", false),
        ] {
            assert_eq!(is_event_stream(media_type), is, "{media_type:?}");
        }
    }
}
