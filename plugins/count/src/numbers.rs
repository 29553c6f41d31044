//! The count as bytes, and classes of statuses.

/// The count as it is stored: little-endian.
pub(crate) fn bytes(count: u64) -> [u8; 8] {
    count.to_le_bytes()
}

/// A stored count; 0 where there is none, or what others wrote under the name is none.
pub(crate) fn read(stored: &[u8]) -> u64 {
    stored.try_into().map_or(0, u64::from_le_bytes)
}

/// The class of a status, from 0 for 1xx to 4 for 5xx.
pub(crate) fn class(status: &[u8]) -> Option<usize> {
    match status {
        [class @ b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => Some(usize::from(class - b'1')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_as_it_was_written() {
        for count in [0, 1, 255, 256, u64::MAX] {
            assert_eq!(read(&bytes(count)), count);
        }
        for stored in [&b""[..], b"7", b"123456789"] {
            assert_eq!(read(stored), 0);
        }
    }

    #[test]
    fn statuses_have_classes() {
        let table: [(&[u8], Option<usize>); 9] = [
            (b"101", Some(0)),
            (b"200", Some(1)),
            (b"304", Some(2)),
            (b"404", Some(3)),
            (b"599", Some(4)),
            (b"600", None),
            (b"099", None),
            (b"20", None),
            (b"", None),
        ];
        for (status, expected) in table {
            assert_eq!(class(status), expected, "{}", status.escape_ascii());
        }
    }
}
