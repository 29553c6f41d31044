//! Blocks of any content, through an encoder and a decoder.

use proptest::prelude::*;

use super::*;

/// A step of a connection: a block, or a limit that the decoding end announces and the encoding end acknowledges.
#[derive(Debug, Clone)]
enum Step {
    Block(Vec<(String, String, bool)>),
    Limit(u32),
}

/// Fields of few names and values, so that many repeat.
fn field() -> impl Strategy<Value = (String, String, bool)> {
    let known = prop::sample::select(vec![
        ":method",
        ":path",
        ":status",
        ":authority",
        ":scheme",
        ":protocol",
        "accept",
        "via",
        "cookie",
        "set-cookie",
        "authorization",
        "date",
        "accept-encoding",
        "content-length",
        "x-request-id",
        "content-security-policy",
    ]);
    let name = prop_oneof![known.prop_map(str::to_owned), "[a-c]{1,2}", "[a-z0-9_-]{1,80}"];
    let value = prop_oneof![
        prop::sample::select(vec!["", "GET", "/", "200", "gzip, deflate", "1"]).prop_map(str::to_owned),
        "[ab]{1,2}",
        "([!-~][ -~]{0,150})?[!-~\u{80}-\u{7ff}]",
    ];
    (name, value, prop::bool::weighted(0.1))
}

fn step() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![Just(0), 0..300u32, 4000..5000u32, Just(u32::MAX)];
    let block = prop::collection::vec(field(), 0..12).prop_map(Step::Block);
    prop_oneof![4 => block, 1 => limit.prop_map(Step::Limit)]
}

proptest! {
    #[test]
    fn fields_survive_a_connection_with_changing_limits(steps in prop::collection::vec(step(), 0..25)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            let fields = match step {
                Step::Limit(limit) => {
                    encoder.set_limit(limit);
                    decoder.set_limit(limit as usize);
                    continue;
                }
                Step::Block(fields) => fields,
            };
            let mut block = BytesMut::new();
            encoder.begin(&mut block);
            let mut expected = Vec::new();
            for (name, value, is_sensitive) in fields {
                let name = Name::parse(name.as_bytes()).unwrap();
                let size = name.as_str().len() + value.len() + 32;
                let mut value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                match &name {
                    Name::Pseudo(pseudo) => encoder.pseudo(*pseudo, value.as_bytes(), &mut block),
                    Name::Field(name) => {
                        value.set_sensitive(is_sensitive);
                        encoder.field(name, &value, &mut block);
                    }
                }
                expected.push(DecodedField { name: Some(name), value: Some(value), size });
            }
            let decoded = decode(&mut decoder, &block).unwrap();
            prop_assert_eq!(&decoded, &expected);
            for (decoded, expected) in decoded.iter().zip(&expected) {
                let is_sensitive = |field: &DecodedField| field.value.as_ref().unwrap().is_sensitive();
                prop_assert!(is_sensitive(decoded) || !is_sensitive(expected));
            }
            prop_assert_eq!(decoder.table_size(), encoder.table_size());
        }
    }

    /// Blocks of valid first octets and short strings come further than those of random bytes.
    #[test]
    fn decoding_of_any_bytes_is_bounded(
        blocks in prop::collection::vec(
            prop::collection::vec(prop_oneof![any::<u8>(), 0..5u8, 0x80..0x84u8, 0xbe..0xc4u8, Just(0x40)], 0..200),
            1..6,
        ),
        limit in 0..300usize,
    ) {
        let mut decoder = Decoder::new(limit);
        for block in blocks {
            let (mut count, mut is_within) = (0, true);
            let result = decoder.decode(&Bytes::from(block.clone()), &mut |field: DecodedField| {
                count += 1;
                // An entry of either table, or what the block has itself.
                is_within &= field.size <= 32 + limit.max(64) + block.len() * 8 / 5;
            });
            prop_assert!(count <= block.len() && is_within);
            let (entries, size) = decoder.table_size();
            prop_assert!(size <= limit && entries * 32 <= size);
            if result.is_err() {
                break;
            }
        }
    }
}
