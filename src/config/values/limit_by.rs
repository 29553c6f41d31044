//! The part of a request by which a limit counts.

use std::fmt;
use std::str::FromStr;

use super::header::HeaderName;
use super::pattern;
use super::text::{Malformed, text_type};

/// The part of a request by which a limit counts. Requests with equal parts share the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LimitBy {
    /// Written as `client_ip`: the client's address, behind trusted proxies the one that they tell.
    #[default]
    ClientIp,
    /// Written as `identity`: the identity by which authentication knows the client.
    Identity,
    /// Written as `header:NAME`: the value of a field.
    Header(HeaderName),
    /// Written as `route`: all requests of the route share the limit.
    Route,
}

text_type!(LimitBy, format: "limit-by", pattern: {
    pattern::whole(&format!("(?:client_ip|identity|route|header:{})", pattern::TOKEN))
});

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Identity => f.write_str("identity"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Route => f.write_str("route"),
        }
    }
}

impl FromStr for LimitBy {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refused = || {
            Malformed::new(format!("`{text}` is nothing that a limit counts by"))
                .help("write `client_ip`, `identity`, `header:NAME` or `route`")
        };
        match text.split_once(':') {
            None if text == "client_ip" => Ok(Self::ClientIp),
            None if text == "identity" => Ok(Self::Identity),
            None if text == "route" => Ok(Self::Route),
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LimitBy;

    #[test]
    fn keys_of_limits_are_read_and_printed() {
        for text in ["client_ip", "identity", "header:x-api-key", "route"] {
            assert_eq!(text.parse::<LimitBy>().unwrap().to_string(), text);
        }
        for text in ["", "ip", "header", "header:", "header:a b", "path", "cookie:a"] {
            assert!(text.parse::<LimitBy>().is_err(), "{text}");
        }
    }
}
