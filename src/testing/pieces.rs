//! Messages in pieces, as the network may deliver them: the same bytes mean the same, however they arrive. For tests
//! and fuzzing.

use bytes::Bytes;
use http::Method;

use crate::config::HeaderCase;
use crate::http::error::Error;
use crate::http::h1::decoder::Decoder;
use crate::http::h1::framing::Framing;
use crate::http::h1::head::Input;
use crate::http::message::HeadLimits;

const LIMITS: HeadLimits = HeadLimits { headers: 100, header_bytes: 32 * 1024, target_bytes: 8 * 1024 };

/// The messages that were read from some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// All messages that began.
    pub(crate) messages: Vec<Message>,
    /// True if nothing after them can be trusted.
    pub(crate) is_refused: bool,
}

/// A message, as far as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
    pub(crate) is_whole: bool,
}

/// Reads consecutive requests.
pub(crate) fn requests<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Reading {
    read(pieces, |input| {
        let head = input.request_head(&LIMITS, HeaderCase::Preserve)?;
        Ok(head.map(|head| (format!("{head:?}"), head.framing)))
    })
}

/// Reads consecutive responses to `method`.
pub(crate) fn responses<'a>(pieces: impl Iterator<Item = &'a [u8]>, method: &Method) -> Reading {
    read(pieces, |input| {
        if input.is_empty() {
            return Ok(None);
        }
        let head = input.response_head(method, &LIMITS, HeaderCase::Lower)?;
        Ok(head.map(|head| (format!("{head:?}"), head.framing)))
    })
}

fn read<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    mut next_head: impl FnMut(&mut Input) -> Result<Option<(String, Framing)>, Error>,
) -> Reading {
    let mut reading = Reading::default();
    let (mut input, mut decoder) = (Input::default(), Decoder::Done);
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        input.push(Bytes::copy_from_slice(piece));
        if reading.take(&mut input, &mut decoder, &mut next_head).is_err() {
            reading.is_refused = true;
            break;
        }
    }
    reading
}

impl Reading {
    /// Continues to read as far as the input goes.
    fn take(
        &mut self,
        input: &mut Input,
        decoder: &mut Decoder,
        next_head: &mut impl FnMut(&mut Input) -> Result<Option<(String, Framing)>, Error>,
    ) -> Result<(), Error> {
        loop {
            if decoder.is_done() {
                let Some((head, framing)) = next_head(input)? else { return Ok(()) };
                let (body, trailers) = (Vec::new(), String::new());
                self.messages.push(Message { head, body, trailers, is_whole: false });
                *decoder = Decoder::new(framing);
            }
            let Some(message) = self.messages.last_mut() else { return Ok(()) };
            let frame = decoder.decode(input.bytes()).map_err(Error::RequestFraming)?;
            message.is_whole = decoder.is_done();
            let Some(frame) = frame else {
                if decoder.is_done() {
                    continue;
                }
                return Ok(());
            };
            match frame.into_data() {
                Ok(data) => message.body.extend_from_slice(&data),
                Err(trailers) => message.trailers = format!("{:?}", trailers.into_trailers()),
            }
        }
    }
}

/// Returns the contradiction between two readings of the same bytes, `whole` at once and `cut` into pieces.
///
/// In pieces, a bad head may be found later, because a head is parsed only when its end has arrived.
pub(crate) fn contradiction(whole: &Reading, cut: &Reading) -> Option<String> {
    let agree = whole.messages == cut.messages && (whole.is_refused || !cut.is_refused);
    (!agree).then(|| format!("whole: {whole:#?}\ncut: {cut:#?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates parts of messages, good and bad, mostly in the order of a message.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("GET / HTTP/1.1\r\n"),
            Just("POST /a?b HTTP/1.1\r\n"),
            Just("PUT http://a/ HTTP/1.0\r\n"),
            Just("HTTP/1.1 200 OK\r\n"),
            Just("HTTP/1.0 404 \r\n"),
            Just("HTTP/1.1 103 Early Hints\r\n"),
            Just("\r\n"),
            Just("\x16\x03\x01"),
        ];
        let field = prop_oneof![
            4 => Just("Host: a\r\n"),
            4 => Just("Content-Length: 5\r\n"),
            4 => Just("Transfer-Encoding: chunked\r\n"),
            1 => Just("Content-Length: 05\r\n"),
            1 => Just("Transfer-Encoding : chunked\r\n"),
            1 => Just("X: a\r b\r\n"),
            1 => Just("X: a\n"),
            1 => Just(" folded\r\n"),
        ];
        let body = prop_oneof![
            Just("hello"),
            Just("5\r\nhello\r\n"),
            Just("3;a=b\r\nabc\r\n"),
            Just("5 \r\nhello\r\n"),
            Just("0\r\n\r\n"),
            Just("0\r\nX: y\r\n\r\n"),
            Just("0\r\nX: y\n\n"),
            Just("6\r\nhello\r\n"),
            Just("\n"),
            Just("\r"),
            Just("0"),
        ];
        let message = (
            line,
            proptest::collection::vec(field, 0..3),
            Just("\r\n"),
            proptest::collection::vec(body, 0..4),
        )
            .prop_map(|(line, fields, end, body)| [line, &fields.concat(), end, &body.concat()].concat());
        proptest::collection::vec(message, 1..4).prop_map(|messages| messages.concat().into_bytes())
    }

    fn cut(bytes: &[u8], mut at: Vec<usize>) -> Vec<&[u8]> {
        at.sort_unstable();
        let mut from = 0;
        let mut pieces: Vec<&[u8]> = Vec::new();
        for at in at.into_iter().filter(|at| *at <= bytes.len()) {
            pieces.push(&bytes[from..at]);
            from = at;
        }
        pieces.push(&bytes[from..]);
        pieces
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn messages_mean_the_same_however_they_are_cut(
            bytes in any_bytes(),
            at in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let pieces = cut(&bytes, at);
            let whole = requests(std::iter::once(&bytes[..]));
            for reading in [requests(pieces.iter().copied()), requests(bytes.chunks(1))] {
                prop_assert_eq!(contradiction(&whole, &reading), None);
            }
            for method in [Method::GET, Method::HEAD] {
                let whole = responses(std::iter::once(&bytes[..]), &method);
                for reading in [responses(pieces.iter().copied(), &method), responses(bytes.chunks(1), &method)] {
                    prop_assert_eq!(contradiction(&whole, &reading), None);
                }
            }
        }

        #[test]
        fn a_body_in_chunks_is_itself_again(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            at in proptest::collection::vec(0usize..300, 0..8),
        ) {
            let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let chunks = parts.iter().map(|part| [format!("{:X}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            let bytes = [head, chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat();
            let reading = requests(cut(&bytes, at).into_iter());
            prop_assert!(!reading.is_refused);
            prop_assert_eq!(reading.messages.len(), 1);
            prop_assert!(reading.messages[0].is_whole);
            prop_assert_eq!(&reading.messages[0].body, &parts.concat());
        }
    }
}
