//! Encoding: representations and table sizes.

use super::*;

/// Encodes blocks, one behind the other. Their fields are separated by ` | `.
fn check(encoder: &mut Encoder, blocks: &[(&str, &str)]) {
    for (lines, expected) in blocks {
        assert_eq!(encode_lines(encoder, &lines.split(" | ").collect::<Vec<_>>()), hex(expected), "{lines}");
    }
}

#[test]
fn fields_have_the_representation_of_their_policy() {
    check(
        &mut Encoder::new(),
        &[
            // Entries of the static table.
            (":status: 200 | :path: /index.html | accept-encoding: gzip, deflate | vary: ", "88 85 90 bb"),
            // A secret is a literal that is never indexed, every time, even if the static table has it.
            ("authorization: x", "1f08 0178"),
            ("authorization: x | cookie: a=1", "1f08 0178 1f11 03613d31"),
            ("authorization: ", "1f08 00"),
            // A value that rarely repeats is a literal that is not indexed.
            ("content-length: 7 | age: 7", "0f0d 0137 0f06 0137"),
            ("content-length: 7 | :path: /?", "0f0d 0137 04 022f3f"),
            // The others are indexed from the second time on, and their names, too.
            ("via: x | x: 1", "7c 0178 40 0178 0131"),
            ("via: x | x: 1 | x: 2", "bf be 7e 0132"),
            ("via: x | x: 1 | x: 2", "c0 bf be"),
            // A string is Huffman-coded only if that is shorter.
            ("x: ~~~~~ | x: aaaa", "7e 057e7e7e7e7e 7e 83 18c63f"),
            (":protocol: websocket", "40 87 b95d8749c87a3f 87 f058d072752a7f"),
            (":protocol: websocket | x: 2", "be c1"),
        ],
    );
}

#[test]
fn sensitive_values_are_never_indexed() {
    let mut encoder = Encoder::new();
    check(&mut encoder, &[("via: x", "7c 0178"), ("via: x | x: 1", "be 40 0178 0131")]);
    let mut value = HeaderValue::from_static("x");
    value.set_sensitive(true);
    let mut out = BytesMut::new();
    encoder.field(&http::header::VIA, &value, &mut out);
    // The name of an entry of the dynamic table may be referred to.
    encoder.field(&HeaderName::from_static("x"), &value, &mut out);
    assert_eq!(out, hex("1f2d 0178 1f2f 0178"));
}

#[test]
fn changes_of_the_limit_are_signalled_once() {
    let entry = "via: x";
    for (limits, block) in [
        (&[][..], "be"),
        (&[4096], "be"),
        (&[65536], "be"),
        (&[u32::MAX, 4096], "be"),
        (&[64], "3f21 be"),
        (&[0], "20 0f2d 0178"),
        (&[0, 4096], "20 3fe11f 7c 0178"),
        (&[64, 0, 64], "20 3f21 0f2d 0178"),
        (&[100, 64], "3f21 be"),
        (&[64, 100], "3f21 3f45 be"),
        (&[64, u32::MAX], "3f21 3fe11f be"),
    ] {
        let mut encoder = Encoder::new();
        check(&mut encoder, &[(entry, "7c 0178")]);
        limits.iter().for_each(|limit| encoder.set_limit(*limit));
        check(&mut encoder, &[(entry, block), (":status: 200", "88")]);
    }
}

#[test]
fn a_field_larger_than_half_the_table_stays_out_of_it() {
    let mut encoder = Encoder::new();
    let line = |bytes: usize| format!("via: {}", "~".repeat(bytes));
    encode_lines(&mut encoder, &[&line(2048 - 35), &line(2048 - 34)]);
    assert_eq!(encoder.table_size(), (1, 2048));
    // Three of them are too many for the table.
    encode_lines(
        &mut encoder,
        &[&format!("age2: {}", "~".repeat(1000)), &format!("age3: {}", "~".repeat(1000))],
    );
    assert_eq!(encoder.table_size(), (2, 2 * 1036));
}
