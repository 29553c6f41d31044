//! Base64 (RFC 4648 §4), also of data that comes in pieces. The text form of gRPC-Web may have padding after each piece that its sender encoded.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns the text of `data`, with padding.
pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    Encoder::default().encode(data, true, &mut text);
    text
}

/// Returns the data of a text that has padding at its end alone, or `None` if it is not such a text.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let letters = text.iter().take_while(|byte| **byte != b'=').count();
    let is_padded_at_end = text.get(letters..)?.iter().all(|byte| *byte == b'=') && text.len() - letters <= 2;
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    decoder.decode(text, &mut data).ok()?;
    (is_padded_at_end && decoder.is_complete()).then_some(data)
}

/// The marker of bytes that are no letters.
const NO_LETTER: u8 = 0xff;

/// The value of each letter.
static VALUES: [u8; 256] = {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        #[allow(clippy::indexing_slicing, reason = "the compiler evaluates it")]
        {
            values[ALPHABET[value] as usize] = value as u8;
        }
        value += 1;
    }
    values
};

/// An encoder of data that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The bytes of a group that is not complete.
    group: [u8; 3],
    filled: usize,
}

impl Encoder {
    /// Appends the text of `data` to `text`. Bytes of an incomplete group wait for the next piece, unless `ends` is true: then
    /// padding completes the group.
    pub(super) fn encode(&mut self, data: &[u8], ends: bool, text: &mut Vec<u8>) {
        text.reserve(data.len().div_ceil(3) * 4 + 4);
        let missing = if self.filled == 0 { 0 } else { self.group.len() - self.filled };
        let (first, data) = data.split_at(missing.min(data.len()));
        first.iter().for_each(|byte| self.push(*byte));
        if self.filled == self.group.len() {
            text.extend(letters(self.group));
            self.filled = 0;
        }
        let (groups, rest) = data.as_chunks::<3>();
        for group in groups {
            text.extend(letters(*group));
        }
        rest.iter().for_each(|byte| self.push(*byte));
        if ends && self.filled > 0 {
            self.group.iter_mut().skip(self.filled).for_each(|byte| *byte = 0);
            let letters = letters(self.group);
            let filled = std::mem::take(&mut self.filled);
            text.extend(letters.into_iter().take(filled + 1).chain([b'='; 2]).take(4));
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.group.get_mut(self.filled) {
            *place = byte;
            self.filled += 1;
        }
    }
}

fn letters([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    let letter = |shift: u32| ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or_default();
    [letter(18), letter(12), letter(6), letter(0)]
}

/// A byte that is neither a letter nor padding in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A decoder of text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The bits of the letters of a group that is not complete.
    bits: u32,
    letters: u8,
    padding: u8,
}

impl Decoder {
    /// Appends the data of `text` to `data`.
    ///
    /// # Errors
    /// Fails at the first byte that cannot follow. Nothing more can be decoded then.
    pub(super) fn decode(&mut self, text: &[u8], data: &mut Vec<u8>) -> Result<(), Malformed> {
        data.reserve(text.len() / 4 * 3 + 3);
        for &byte in text {
            match VALUES.get(usize::from(byte)).copied().unwrap_or(NO_LETTER) {
                NO_LETTER if byte == b'=' && self.letters >= 2 => self.padding += 1,
                NO_LETTER => return Err(Malformed),
                _ if self.padding > 0 => return Err(Malformed),
                value => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.letters += 1;
                }
            }
            if self.letters + self.padding == 4 {
                let bits = self.bits << (6 * u32::from(self.padding));
                let bytes = bits.to_be_bytes().into_iter().skip(1);
                data.extend(bytes.take(3 - usize::from(self.padding)));
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Returns true if the text may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.letters == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(pieces: &[(&[u8], bool)]) -> String {
        let (mut encoder, mut text) = (Encoder::default(), Vec::new());
        for (piece, ends) in pieces {
            encoder.encode(piece, *ends, &mut text);
        }
        String::from_utf8(text).unwrap()
    }

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let (mut decoder, mut data) = (Decoder::default(), Vec::new());
        decoder.decode(text.as_bytes(), &mut data).ok()?;
        decoder.is_complete().then_some(data)
    }

    #[test]
    fn text_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (data, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(&[(data.as_bytes(), true)]), text);
            assert_eq!(decoded(text).unwrap(), data.as_bytes());
        }
        assert_eq!(encoded(&[(&[0xfb, 0xff, 0xbf], false)]), "+/+/");
    }

    #[test]
    fn whole_text_has_padding_at_its_end_alone() {
        for data in [&b""[..], b"f", b"fo", b"foo"] {
            assert_eq!(decode(&encode(data)).unwrap(), data);
        }
        for text in ["Zg==b29iYXI=", "Zg==Zg==", "Zg", "=", "Zm9v=", "Zm9v===="] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn padding_may_end_each_piece() {
        assert_eq!(encoded(&[(b"f", true), (b"oo", false), (b"ba", false), (b"r", true)]), "Zg==b29iYXI=");
        assert_eq!(decoded("Zg==b29iYXI=").unwrap(), b"foobar");
    }

    #[test]
    fn text_that_is_not_base64_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zg=a", "Zm9v!", "Zm9v\n", "Zm-_", "Zm9v="] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn data_survives_any_cuts(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), any::<bool>()), 0..9),
            cut in 1..7_usize,
        ) {
            let all = pieces.iter().flat_map(|(data, _)| data.clone()).collect::<Vec<_>>();
            let mut pieces: Vec<(&[u8], bool)> = pieces.iter().map(|(data, ends)| (&data[..], *ends)).collect();
            pieces.push((b"", true));
            let text = encoded(&pieces);
            let (mut decoder, mut data) = (Decoder::default(), Vec::new());
            for piece in text.as_bytes().chunks(cut) {
                prop_assert!(decoder.decode(piece, &mut data).is_ok());
            }
            prop_assert!(decoder.is_complete());
            prop_assert_eq!(data, all);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _any = Decoder::default().decode(&text, &mut Vec::new());
        }
    }
}
