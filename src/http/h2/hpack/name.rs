//! Names of fields and pseudo-header fields.

use http::HeaderName;

/// The pseudo-header fields of requests and responses (RFC 9113 §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pseudo {
    /// The request's method (`:method`).
    Method,
    /// The scheme of the request's target (`:scheme`).
    Scheme,
    /// The authority of the request's target (`:authority`).
    Authority,
    /// The path and query of the request's target (`:path`).
    Path,
    /// The response's status code (`:status`).
    Status,
    /// The protocol of an extended CONNECT (`:protocol`, RFC 8441 §4). The static table does not have it.
    Protocol,
}

impl Pseudo {
    /// Returns the name with its colon.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Status => ":status",
            Self::Protocol => ":protocol",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            _ => return None,
        })
    }
}

/// The name of a field. One that the `http` crate knows, as all in the static table, has no memory on the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// A pseudo-header field.
    Pseudo(Pseudo),
    /// Any other field.
    Field(HeaderName),
}

impl Name {
    /// Parses a name as a block has it. Returns `None` if it is malformed by RFC 9113 §8.2.1 (empty, in upper case,
    /// no token), or an unknown pseudo-header field (§8.3).
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        if name.first() == Some(&b':') {
            return Pseudo::parse(name).map(Self::Pseudo);
        }
        HeaderName::from_lowercase(name).ok().map(Self::Field)
    }

    /// Returns the name in lower case, a pseudo-header field's with its colon.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Pseudo(pseudo) => pseudo.as_str(),
            Self::Field(name) => name.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_malformed_ones_rejected() {
        for name in [
            ":method",
            ":scheme",
            ":authority",
            ":path",
            ":status",
            ":protocol",
            "host",
            "x-a",
            "!#$%&'*+-.^_`|~0",
        ] {
            assert_eq!(Name::parse(name.as_bytes()).unwrap().as_str(), name);
        }
        for name in
            ["", ":", ":Method", ":host", "Host", "x-A", "a b", "a:", "a\0", "a\r\n", "a\x7f", "\u{e9}", "a,"]
        {
            assert_eq!(Name::parse(name.as_bytes()), None, "{name:?}");
        }
        assert!(matches!(Name::parse(b":path"), Some(Name::Pseudo(Pseudo::Path))));
    }
}
