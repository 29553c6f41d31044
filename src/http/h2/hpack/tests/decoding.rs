//! Decoding: malformed blocks and fields, table sizes, memory.

use super::*;

#[test]
fn malformed_blocks_are_rejected() {
    use HpackError::*;
    for (block, expected) in [
        // An index: 0, the first behind both tables, and a large one.
        ("80", InvalidIndex),
        ("be", InvalidIndex),
        ("82 4001 6101 62 bf", InvalidIndex),
        ("ff 80 ff ff ff 0f", InvalidIndex),
        ("7e 01 61", InvalidIndex),
        ("0f 2f 01 61", InvalidIndex),
        // A block that ends within a field.
        ("ff", Truncated),
        ("ff 80", Truncated),
        ("40", Truncated),
        ("40 02 61", Truncated),
        ("40 01 61", Truncated),
        ("40 01 61 05 62", Truncated),
        ("44", Truncated),
        ("44 83 1c", Truncated),
        ("3f", Truncated),
        ("40 7f ff ff ff ff 0e", Truncated),
        // Integers that are too large.
        ("ff ff ff ff ff ff 00", IntegerOverflow),
        ("ff 80 80 80 80 80 00", IntegerOverflow),
        ("40 7f ff ff ff ff 1f", IntegerOverflow),
        ("3f ff ff ff ff ff ff ff ff", IntegerOverflow),
        // Strings with EOS, and with padding that is too long or no ones; as names and as values.
        ("44 84 ff ff ff ff", HuffmanEos),
        ("40 84 ff ff ff ff 00", HuffmanEos),
        ("44 81 ff", HuffmanPadding),
        ("44 82 1f ff", HuffmanPadding),
        ("44 81 18", HuffmanPadding),
        // Table size updates.
        ("3f e2 1f", SizeUpdateAboveLimit),
        ("20 3f e2 1f", SizeUpdateAboveLimit),
        ("82 20", SizeUpdateAfterField),
        ("20 82 20", SizeUpdateAfterField),
        ("20 20 20", TooManySizeUpdates),
    ] {
        assert_eq!(decode(&mut Decoder::new(4096), &hex(block)), Err(expected), "{block}");
    }
}

#[test]
fn fields_that_are_malformed_leave_the_codec_in_step() {
    let valid = (Some("ab"), Some("cd"));
    for (name, value, expected) in [
        ("ab", "cd", valid),
        ("ab", "", (Some("ab"), Some(""))),
        ("ab", "c \td", (Some("ab"), Some("c \td"))),
        (":path", "/", (Some(":path"), Some("/"))),
        (":protocol", "websocket", (Some(":protocol"), Some("websocket"))),
        ("Ab", "cd", (None, Some("cd"))),
        ("", "cd", (None, Some("cd"))),
        ("a b", "cd", (None, Some("cd"))),
        ("a:b", "cd", (None, Some("cd"))),
        (":Path", "cd", (None, Some("cd"))),
        (":unknown", "cd", (None, Some("cd"))),
        ("ab", "c\0d", (Some("ab"), None)),
        ("ab", "c\rd", (Some("ab"), None)),
        ("ab", "c\nd", (Some("ab"), None)),
        ("ab", "c\x01d", (Some("ab"), None)),
        ("ab", "c\x7fd", (Some("ab"), None)),
        ("ab", " cd", (Some("ab"), None)),
        ("ab", "cd ", (Some("ab"), None)),
        ("ab", "\tcd", (Some("ab"), None)),
        ("ab", "cd\t", (Some("ab"), None)),
        ("ab", " ", (Some("ab"), None)),
        ("Ab", "cd ", (None, None)),
    ] {
        let size = name.len() + value.len() + 32;
        let expected: Text =
            (expected.0.map(str::to_owned), expected.1.map(|value| value.as_bytes().to_vec()));
        for is_coded in [false, true] {
            let (name, value) = (string(name.as_bytes(), is_coded), string(value.as_bytes(), is_coded));
            let mut decoder = Decoder::new(4096);
            for first in [0x00, 0x10, 0x40] {
                let block = [&[first][..], &name, &value].concat();
                let fields = decode(&mut decoder, &block).unwrap();
                assert_eq!((text(&fields[0]), fields[0].size, fields.len()), (expected.clone(), size, 1));
            }
            assert_eq!(decoder.table_size(), (1, size));
            // The entry itself, its name with another value, and a valid field behind them.
            let fields = decode(&mut decoder, &hex("be 0f2f 0178 7e 0179 bf")).unwrap();
            let name = || expected.0.clone();
            let (x, y) = ((name(), Some(b"x".to_vec())), (name(), Some(b"y".to_vec())));
            assert_eq!(
                fields.iter().map(text).collect::<Vec<_>>(),
                [expected.clone(), x, y, expected.clone()]
            );
            let name_size = size - value_len(&value, is_coded) + 1;
            assert_eq!(
                fields.iter().map(|field| field.size).collect::<Vec<_>>(),
                [size, name_size, name_size, size]
            );
        }
    }
}

/// Returns a string as a block has it.
fn string(text: &[u8], is_coded: bool) -> BytesMut {
    let mut out = BytesMut::new();
    if is_coded {
        integer::encode(huffman::encoded_len(text), 0x80, 7, &mut out);
        huffman::encode(text, &mut out);
    } else {
        integer::encode(text.len(), 0, 7, &mut out);
        out.extend_from_slice(text);
    }
    out
}

fn value_len(string: &[u8], is_coded: bool) -> usize {
    let mut out = BytesMut::new();
    if is_coded {
        huffman::decode(&string[1..], &mut out).unwrap();
        out.len()
    } else {
        string.len() - 1
    }
}

#[test]
fn values_that_are_never_indexed_are_sensitive() {
    let fields = decode(&mut Decoder::new(4096), &hex("1001610162 0001610162 4001610162 be")).unwrap();
    let sensitive = fields.iter().map(|field| field.value.as_ref().unwrap().is_sensitive());
    assert_eq!(sensitive.collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn a_name_reference_survives_the_eviction_of_its_entry() {
    let mut decoder = Decoder::new(64);
    // `name: 1…` fills the table; a field with its name evicts it.
    let first = [&hex("40 04")[..], b"name", &hex("1c"), &[b'1'; 28]].concat();
    decode(&mut decoder, &first).unwrap();
    assert_eq!(decoder.table_size(), (1, 64));
    assert_eq!(decode_lines(&mut decoder, &hex("7e 0132")), ["name: 2"]);
    assert_eq!(decoder.table_size(), (1, 37));
    // A field that exceeds the table empties it, and is passed on.
    let large = [&hex("7e 1d")[..], &[b'1'; 29]].concat();
    assert_eq!(decode_lines(&mut decoder, &large), [format!("name: {}", "1".repeat(29))]);
    assert_eq!(decoder.table_size(), (0, 0));
}

#[test]
fn a_lower_limit_needs_an_update_at_the_next_block() {
    use HpackError::*;
    let entry = "40 0161 0162";
    for (limits, block, expected) in [
        (&[100][..], "82", Err(MissingSizeUpdate)),
        (&[100], "", Err(MissingSizeUpdate)),
        (&[100], "3f45", Ok((1, 34))),
        (&[100], "3f46", Err(SizeUpdateAboveLimit)),
        (&[100], "20", Ok((0, 0))),
        (&[100], "20 3f45", Ok((0, 0))),
        (&[0], "82", Err(MissingSizeUpdate)),
        (&[0], "20", Ok((0, 0))),
        (&[0, 4096], "3fe11f", Err(MissingSizeUpdate)),
        (&[0, 4096], "20 3fe11f", Ok((0, 0))),
        (&[0, 4096], "20", Ok((0, 0))),
        (&[100, 200, 4096], "3f46 20", Ok((0, 0))),
        (&[100, 200, 4096], "3f46 3f47", Err(MissingSizeUpdate)),
        // A limit that is not below the maximum needs nothing.
        (&[4096], "82", Ok((1, 34))),
        (&[65536], "82", Ok((1, 34))),
        (&[65536], "3fe1ff03", Ok((1, 34))),
        (&[65536], "3fe2ff03", Err(SizeUpdateAboveLimit)),
        (&[65536, 4096], "82", Ok((1, 34))),
    ] {
        let mut decoder = Decoder::new(4096);
        decode(&mut decoder, &hex(entry)).unwrap();
        limits.iter().for_each(|limit| decoder.set_limit(*limit));
        let result = decode(&mut decoder, &hex(block)).map(|_| decoder.table_size());
        assert_eq!(result, expected, "{limits:?} {block}");
    }
}

/// A limit above the default changes nothing until the peer raises the maximum.
#[test]
fn the_maximum_of_the_table_is_the_peers_choice_within_the_limit() {
    let mut decoder = Decoder::new(65536);
    let large = [&hex("44 7f e1 3f")[..], &[b'1'; 8288]].concat();
    decode(&mut decoder, &large).unwrap();
    assert_eq!(decoder.table_size(), (0, 0));
    decode(&mut decoder, &[&hex("3fe1ff03"), &large[..]].concat()).unwrap();
    assert_eq!(decoder.table_size(), (1, 8288 + 5 + 32));
}

#[test]
fn values_share_the_block_and_the_table_has_copies() {
    let block = Bytes::from([&hex("44 20")[..], &[b'/'; 32], &hex("04 20"), &[b'/'; 32]].concat());
    let mut decoder = Decoder::new(4096);
    let mut values = Vec::new();
    let mut collect = |field: DecodedField| values.push(field.value.unwrap());
    decoder.decode(&block, &mut collect).unwrap();
    decoder.decode(&Bytes::from_static(&[0xbe]), &mut collect).unwrap();
    let is_of_block = |value: &HeaderValue| block.as_ptr_range().contains(&value.as_bytes().as_ptr());
    assert_eq!(values.iter().map(is_of_block).collect::<Vec<_>>(), [true, true, false]);
    drop(values);
    assert!(block.is_unique());
}

/// Blocks that another implementation has encoded: `hpack` 4.2.0 for Python.
#[test]
fn blocks_of_another_encoder_are_decoded() {
    let request = "8287418c44e7ad72f91d35d055cf64df448b61051d849ffced00d510237ab5d07f66a281b0dae053fafc087ed4ce6aadf2a7\
        979c89c6bed4b3bdc0b405c1fda988a4ea76040080010054c26b0b29fcb01680b83f538f497ca589d34d1f5f2c7cfdf6800b\
        bd50929bd9abfa5242cb40d25fa523b3e94f684c9f4082497f864d833505b11f1f118534903b2b234086f2b169ad3ebf8040\
        86f2b47e92547f94ffffa7fffff4fffffee53ffbfffbffdfffe1ffe7";
    let response = "884883682f7f5f8b1d75d0620d263d4c7441ea4085f2b507aa6fff93011c6050718141c6050718141c6050718141c6050718\
        141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c60507181\
        41c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c605071814\
        1c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141\
        c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c\
        6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6050718141c6\
        053f8f";
    let lines = [
        ":method: GET",
        ":scheme: https",
        ":authority: shop.example.org",
        ":path: /search?q=a%20b",
        "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "accept: text/html,*/*;q=0.8",
        "accept-encoding: gzip, deflate, br, zstd",
        "te: trailers",
        "cookie: id=7f3a",
        "x-empty: ",
        "x-bytes: \\xe4\\xf6\\xfc ~{}\\\\^",
    ];
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode_lines(&mut decoder, &hex(request)), lines);
    assert_eq!(decode_lines(&mut decoder, &hex("8287c5c4c3c2c1c01f118534903b2b23bfbe")), lines);
    // Without Huffman coding, and with two size updates: to 64 bytes, and to 256.
    let uncoded = "3f213fe1018287411073686f702e6578616d706c652e6f7267440f2f7365617263683f713d61253230624007782d656d7074\
        7900c1";
    let expected = [&lines[..4], &["x-empty: ", "x-bytes: \\xe4\\xf6\\xfc ~{}\\\\^"]].concat();
    assert_eq!(decode_lines(&mut decoder, &hex(uncoded)), expected);
    let long = format!("x-long: {}!", "ab0 ".repeat(99));
    let expected = [":status: 200", ":status: 418", "content-type: application/json", &long];
    assert_eq!(decode_lines(&mut decoder, &hex(response)), expected);
    assert_eq!(decode_lines(&mut decoder, &hex(request)), lines);
}
