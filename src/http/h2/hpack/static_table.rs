//! The static table (RFC 7541 Appendix A).

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, header};

use super::{Name, Pseudo};

/// The number of entries. The indices of the dynamic table begin behind them.
pub(super) const LEN: usize = 61;

/// An entry of the static table. Clones of its parts allocate nothing.
#[derive(Debug)]
pub(super) struct StaticEntry {
    pub(super) name: Name,
    pub(super) value: HeaderValue,
}

/// Returns the entry at an index from 1 to [`LEN`].
pub(super) fn get(index: usize) -> Option<&'static StaticEntry> {
    ENTRIES.get(index.checked_sub(1)?)
}

/// Returns the lowest index whose entry has this name.
pub(super) const fn pseudo_index(pseudo: Pseudo) -> Option<usize> {
    match pseudo {
        Pseudo::Authority => Some(1),
        Pseudo::Method => Some(2),
        Pseudo::Path => Some(4),
        Pseudo::Scheme => Some(6),
        Pseudo::Status => Some(8),
        Pseudo::Protocol => None,
    }
}

/// Returns the index of the entry that is equal to this pseudo-header field.
pub(super) fn pseudo_match(pseudo: Pseudo, value: &[u8]) -> Option<usize> {
    Some(match (pseudo, value) {
        (Pseudo::Method, b"GET") => 2,
        (Pseudo::Method, b"POST") => 3,
        (Pseudo::Path, b"/") => 4,
        (Pseudo::Path, b"/index.html") => 5,
        (Pseudo::Scheme, b"http") => 6,
        (Pseudo::Scheme, b"https") => 7,
        (Pseudo::Status, b"200") => 8,
        (Pseudo::Status, b"204") => 9,
        (Pseudo::Status, b"206") => 10,
        (Pseudo::Status, b"304") => 11,
        (Pseudo::Status, b"400") => 12,
        (Pseudo::Status, b"404") => 13,
        (Pseudo::Status, b"500") => 14,
        _ => return None,
    })
}

/// Returns the index of the entry with this name. No two entries of fields other than pseudo-header fields share one.
pub(super) fn field_index(name: &str) -> Option<usize> {
    let mut slot = hash(name);
    // The slots outnumber the entries, so there is a free one to end at.
    loop {
        let index = SLOTS.get(slot).map_or(0, |index| usize::from(*index));
        if get(index)?.name.as_str() == name {
            return Some(index);
        }
        slot = (slot + 1) % SLOT_COUNT;
    }
}

const SLOT_COUNT: usize = 256;

/// A hash table with open addressing: the index of the entry whose name has this hash, or 0.
static SLOTS: LazyLock<[u8; SLOT_COUNT]> = LazyLock::new(|| {
    let mut slots = [0; SLOT_COUNT];
    for (index, entry) in (1..).zip(&ENTRIES) {
        let Name::Field(name) = &entry.name else { continue };
        let mut slot = hash(name.as_str());
        while slots.get(slot).is_some_and(|taken| *taken != 0) {
            slot = (slot + 1) % SLOT_COUNT;
        }
        if let Some(free) = slots.get_mut(slot) {
            *free = index;
        }
    }
    slots
});

/// Returns a slot for a name, from its length and three of its characters. The factors leave few names of the table
/// to share one.
fn hash(name: &str) -> usize {
    let name = name.as_bytes();
    let at = |index: usize| name.get(index).map_or(0, |byte| usize::from(*byte));
    let (first, middle, last) = (at(0), at(name.len() / 2), at(name.len().wrapping_sub(1)));
    (name.len() * 31 + first * 7 + middle * 59 + last * 13) % SLOT_COUNT
}

const fn pseudo(pseudo: Pseudo, value: &'static str) -> StaticEntry {
    StaticEntry { name: Name::Pseudo(pseudo), value: HeaderValue::from_static(value) }
}

const fn field(name: HeaderName, value: &'static str) -> StaticEntry {
    StaticEntry { name: Name::Field(name), value: HeaderValue::from_static(value) }
}

static ENTRIES: [StaticEntry; LEN] = [
    pseudo(Pseudo::Authority, ""),
    pseudo(Pseudo::Method, "GET"),
    pseudo(Pseudo::Method, "POST"),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    pseudo(Pseudo::Status, "200"),
    pseudo(Pseudo::Status, "204"),
    pseudo(Pseudo::Status, "206"),
    pseudo(Pseudo::Status, "304"),
    pseudo(Pseudo::Status, "400"),
    pseudo(Pseudo::Status, "404"),
    pseudo(Pseudo::Status, "500"),
    field(header::ACCEPT_CHARSET, ""),
    field(header::ACCEPT_ENCODING, "gzip, deflate"),
    field(header::ACCEPT_LANGUAGE, ""),
    field(header::ACCEPT_RANGES, ""),
    field(header::ACCEPT, ""),
    field(header::ACCESS_CONTROL_ALLOW_ORIGIN, ""),
    field(header::AGE, ""),
    field(header::ALLOW, ""),
    field(header::AUTHORIZATION, ""),
    field(header::CACHE_CONTROL, ""),
    field(header::CONTENT_DISPOSITION, ""),
    field(header::CONTENT_ENCODING, ""),
    field(header::CONTENT_LANGUAGE, ""),
    field(header::CONTENT_LENGTH, ""),
    field(header::CONTENT_LOCATION, ""),
    field(header::CONTENT_RANGE, ""),
    field(header::CONTENT_TYPE, ""),
    field(header::COOKIE, ""),
    field(header::DATE, ""),
    field(header::ETAG, ""),
    field(header::EXPECT, ""),
    field(header::EXPIRES, ""),
    field(header::FROM, ""),
    field(header::HOST, ""),
    field(header::IF_MATCH, ""),
    field(header::IF_MODIFIED_SINCE, ""),
    field(header::IF_NONE_MATCH, ""),
    field(header::IF_RANGE, ""),
    field(header::IF_UNMODIFIED_SINCE, ""),
    field(header::LAST_MODIFIED, ""),
    field(header::LINK, ""),
    field(header::LOCATION, ""),
    field(header::MAX_FORWARDS, ""),
    field(header::PROXY_AUTHENTICATE, ""),
    field(header::PROXY_AUTHORIZATION, ""),
    field(header::RANGE, ""),
    field(header::REFERER, ""),
    field(header::REFRESH, ""),
    field(header::RETRY_AFTER, ""),
    field(header::SERVER, ""),
    field(header::SET_COOKIE, ""),
    field(header::STRICT_TRANSPORT_SECURITY, ""),
    field(header::TRANSFER_ENCODING, ""),
    field(header::USER_AGENT, ""),
    field(header::VARY, ""),
    field(header::VIA, ""),
    field(header::WWW_AUTHENTICATE, ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_index_name_and_value() {
        assert!(get(0).is_none() && get(LEN + 1).is_none());
        for index in 1..=LEN {
            let StaticEntry { name, value } = get(index).unwrap();
            match name {
                Name::Pseudo(pseudo) => {
                    let first = pseudo_index(*pseudo).unwrap();
                    assert!(first <= index && get(first).unwrap().name == *name);
                    let exact = Some(index).filter(|_| *pseudo != Pseudo::Authority);
                    assert_eq!(pseudo_match(*pseudo, value.as_bytes()), exact);
                }
                Name::Field(name) => assert_eq!(field_index(name.as_str()), Some(index), "{name}"),
            }
        }
        for name in ["", "x", "x-request-id", "accept-", ":path", "via2", "www-authenticatE"] {
            assert_eq!(field_index(name), None, "{name}");
        }
    }

    /// The entries at the indices that RFC 7541 Appendix A begins and ends its groups with.
    #[test]
    fn entries_are_at_the_indices_of_appendix_a() {
        for (index, name, value) in [
            (1, ":authority", ""),
            (14, ":status", "500"),
            (15, "accept-charset", ""),
            (16, "accept-encoding", "gzip, deflate"),
            (28, "content-length", ""),
            (32, "cookie", ""),
            (38, "host", ""),
            (47, "max-forwards", ""),
            (55, "set-cookie", ""),
            (61, "www-authenticate", ""),
        ] {
            let entry = get(index).unwrap();
            assert_eq!((entry.name.as_str(), entry.value.to_str().unwrap()), (name, value));
        }
    }

    #[test]
    fn names_of_the_table_are_found_within_few_steps() {
        let steps = |name: &str| {
            let slot = (0..SLOT_COUNT)
                .find(|slot| get(SLOTS[*slot].into()).is_some_and(|e| e.name.as_str() == name));
            (slot.unwrap() + SLOT_COUNT - hash(name)) % SLOT_COUNT
        };
        let steps: Vec<_> = ENTRIES.iter().skip(14).map(|entry| steps(entry.name.as_str())).collect();
        assert!(steps.iter().sum::<usize>() <= 8, "{steps:?}");
    }
}
