//! Header blocks that cannot be decoded: each ends the connection (RFC 9113 §4.3).

use super::case::Outcome::*;
use super::case::*;
use super::*;

#[tokio::test]
async fn header_blocks_that_cannot_be_decoded_end_the_connection() {
    run(groups()).await;
}

pub(super) fn groups() -> Vec<Group> {
    vec![
        Group { name: "hpack 2.3.3", rfc: "RFC 7541 §2.3.3", cases: indices() },
        Group { name: "hpack 4.2", rfc: "RFC 7541 §4.2", cases: late_updates() },
        Group { name: "hpack 5.2", rfc: "RFC 7541 §5.2", cases: strings() },
        Group { name: "hpack 6.1", rfc: "RFC 7541 §6.1", cases: index_zero() },
        Group { name: "hpack 6.3", rfc: "RFC 7541 §6.3", cases: size_updates() },
    ]
}

/// A request whose block has these bytes before its fields and behind them.
fn wrong(name: &'static str, before: &[u8], behind: &[u8]) -> Case {
    let block = [before, &block(HELLO), behind].concat();
    case(name)
        .sends(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
        .gets(ConnectionError(COMPRESSION_ERROR))
}

/// The static table has 61 entries, and the dynamic one is empty.
fn indices() -> Vec<Case> {
    vec![
        wrong("the index of a field beyond the tables", b"", &integer(0x80, 7, 70)),
        wrong("the index of a name beyond the tables", b"", &[&integer(0x40, 6, 70)[..], b"\x00"].concat()),
        wrong("the first index beyond the tables", b"", &integer(0x80, 7, 62)),
        wrong("an index beyond all numbers", b"", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    ]
}

fn late_updates() -> Vec<Case> {
    vec![wrong("a size update behind fields", b"", &[0x21])]
}

/// `x-a` with a value in Huffman codes (RFC 7541, B). `test` takes 20 bits, so 4 of padding follow.
fn strings() -> Vec<Case> {
    let value = |value: &[u8]| [b"\x00\x03x-a", value].concat();
    vec![
        wrong("padding of more than 7 bits", b"", &value(b"\x84\x49\x50\x9f\xff")),
        wrong("padding of zeros", b"", &value(b"\x83\x49\x50\x90")),
        wrong("the symbol for the end", b"", &value(b"\x87\xff\xff\xff\xfd\x25\x42\x7f")),
        wrong("a length beyond the block", b"", &value(b"\x05test")),
    ]
}

fn index_zero() -> Vec<Case> {
    vec![wrong("the index 0", b"", &[0x80])]
}

/// The gateway's table has the default of 4096 bytes.
fn size_updates() -> Vec<Case> {
    vec![wrong("a size beyond the setting", &integer(0x20, 5, 4097), b"")]
}
