//! The protocols that a connection may be upgraded to, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::text::{Malformed, text_type};

/// A protocol that a client may upgrade to (RFC 9110 §7.8), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UpgradeProtocol(String);

/// Protocols that are never switched to, with or without a version. In a tunnel of HTTP or TLS, requests would pass that
/// no route has seen.
const NEVER: [&str; 5] = ["h2", "h2c", "h3", "http", "tls"];

text_type!(UpgradeProtocol, format: "upgrade-protocol", pattern: {
    let refused = "(?:[hH]2[cC]?|[hH]3|[hH][tT][tT][pP]|[tT][lL][sS])(?:/|$)";
    pattern::whole(&format!("(?!{refused}){token}(?:/{token})?", token = pattern::TOKEN))
});

impl UpgradeProtocol {
    /// Returns `websocket` (RFC 6455), the default of a route.
    pub(crate) fn websocket() -> Self {
        Self("websocket".to_owned())
    }

    /// Returns the name in lower case, with its version if it has one.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpgradeProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for UpgradeProtocol {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let protocol = text.to_ascii_lowercase();
        let (name, version) = protocol.split_once('/').map_or((&*protocol, None), |(n, v)| (n, Some(v)));
        if NEVER.contains(&name) {
            return Err(Malformed::new(format!(
                "`{text}` would let requests past the routes; it is never forwarded"
            ))
            .help("list `h2` under the listener's `protocols` for HTTP/2 without TLS"));
        }
        let is_token = |part: &str| part.parse::<http::HeaderName>().is_ok();
        if !is_token(name) || !version.is_none_or(is_token) {
            return Err(
                Malformed::new(format!("`{text}` is not a protocol")).help("write its name: `websocket`")
            );
        }
        Ok(Self(protocol))
    }
}

#[cfg(test)]
mod tests {
    use super::UpgradeProtocol;

    #[test]
    fn no_upgrade_leads_past_the_routes() {
        assert_eq!("WebSocket".parse::<UpgradeProtocol>().unwrap().as_str(), "websocket");
        for text in
            ["", "h2", "h2c", "H2C", "h2c/1", "h3", "http", "HTTP/2.0", "tls", "TLS/1.2", "a b", "a/b/c"]
        {
            assert!(text.parse::<UpgradeProtocol>().is_err(), "{text}");
        }
    }
}
