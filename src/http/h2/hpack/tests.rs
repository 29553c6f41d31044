//! Whole header blocks, of both directions.

mod appendix_c;
mod decoding;
mod encoding;
mod round_trip;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::*;

/// A field as a test writes it; a malformed part is `None`.
type Text = (Option<String>, Option<Vec<u8>>);

fn hex(digits: &str) -> Bytes {
    let digits: Vec<u8> =
        digits.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<DecodedField>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(&Bytes::copy_from_slice(block), &mut |field| fields.push(field))?;
    Ok(fields)
}

fn text(field: &DecodedField) -> Text {
    let name = field.name.as_ref().map(|name| name.as_str().to_owned());
    (name, field.value.as_ref().map(|value| value.as_bytes().to_vec()))
}

/// Decodes a block, none of whose fields is malformed, to `name: value`.
fn decode_lines(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
    let line = |field: &DecodedField| {
        let (name, value) = text(field);
        format!("{}: {}", name.unwrap(), value.unwrap().escape_ascii())
    };
    decode(decoder, block).unwrap().iter().map(line).collect()
}

/// Encodes a block of lines `name: value`.
fn encode_lines(encoder: &mut Encoder, lines: &[&str]) -> BytesMut {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for line in lines {
        // A name may begin with a colon.
        let (name, value) = line.split_at(line[1..].find(": ").unwrap() + 1);
        let value = &value[2..];
        match Name::parse(name.as_bytes()).unwrap() {
            Name::Pseudo(pseudo) => encoder.pseudo(pseudo, value.as_bytes(), &mut out),
            Name::Field(name) => encoder.field(&name, &HeaderValue::from_str(value).unwrap(), &mut out),
        }
    }
    out
}
