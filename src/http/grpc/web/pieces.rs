//! The agreement of bodies that come whole and in pieces, for tests and fuzzing.

use bytes::Bytes;

use super::encoded::Form;
use crate::http::base64::Decoder;

/// Decodes a request's text, and encodes the same bytes as messages of a response, whole and in pieces of `size`.
pub(crate) fn check(bytes: &[u8], size: usize) {
    let size = size.max(1);
    assert_eq!(decoded(bytes.chunks(size)), decoded(std::iter::once(bytes)), "pieces of {size}");
    for size in [size, bytes.len().max(1)] {
        let mut form = Form::text();
        let mut texts: Vec<Bytes> =
            bytes.chunks(size).map(|piece| form.of_data(Bytes::copy_from_slice(piece))).collect();
        texts.push(form.of_trailers(None));
        let data = decoded(texts.iter().map(|text| &text[..]));
        assert_eq!(data.as_deref(), Some(bytes), "pieces of {size}");
    }
}

/// Returns the data of a text, or `None` if it is not base64.
fn decoded<'p>(mut pieces: impl Iterator<Item = &'p [u8]>) -> Option<Vec<u8>> {
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    pieces.try_for_each(|piece| decoder.decode(piece, &mut data)).ok()?;
    decoder.is_complete().then_some(data)
}
