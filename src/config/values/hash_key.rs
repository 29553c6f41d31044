//! The part of a request that decides which endpoint it goes to.

use std::fmt;
use std::str::FromStr;

use super::header::HeaderName;
use super::pattern;
use super::text::{Malformed, text_type};

/// The part of a request whose value chooses an endpoint. Equal values choose the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HashKey {
    /// Written as `client_ip`: the client's address, behind trusted proxies the one that they tell.
    ClientIp,
    /// Written as `path`: the path, without the query.
    Path,
    /// Written as `header:NAME`: the first value of a field.
    Header(HeaderName),
    /// Written as `cookie:NAME`.
    Cookie(String),
    /// Written as `query:NAME`: the first value of a parameter.
    Query(String),
}

text_type!(HashKey, format: "hash-key", pattern: {
    let named = format!("(?:header|cookie):{}", pattern::TOKEN);
    pattern::whole(&format!("(?:client_ip|path|{named}|query:[^\\s&=#]+)"))
});

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl FromStr for HashKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refused = || {
            Malformed::new(format!("`{text}` is no part of a request"))
                .help("write `client_ip`, `path`, `header:NAME`, `cookie:NAME` or `query:NAME`")
        };
        let is_token = |name: &str| name.parse::<http::HeaderName>().is_ok();
        let is_parameter =
            |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "&=#".contains(c));
        match text.split_once(':') {
            None if text == "client_ip" => Ok(Self::ClientIp),
            None if text == "path" => Ok(Self::Path),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| refused()),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            Some(("query", name)) if is_parameter(name) => Ok(Self::Query(name.to_owned())),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HashKey;

    #[test]
    fn parts_of_a_request_are_read_and_printed() {
        for text in ["client_ip", "path", "header:x-user", "cookie:session", "query:user[id]"] {
            assert_eq!(text.parse::<HashKey>().unwrap().to_string(), text);
        }
        for text in
            ["", "ip", "header", "header:", "header:a b", "cookie:", "cookie:a;b", "query:", "query:a=b"]
        {
            assert!(text.parse::<HashKey>().is_err(), "{text}");
        }
    }
}
