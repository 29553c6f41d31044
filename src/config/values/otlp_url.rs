//! Receivers of OTLP, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::key_source::{KeySource, KeyUrl};
use super::pattern;
use super::text::{Malformed, text_type};

/// The URL of a receiver of OTLP, without query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtlpUrl(KeyUrl);

text_type!(OtlpUrl, format: "otlp-url", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    pattern::whole(&format!("https?://{host}(?::{})?(?:/[!\"$->@-~]*)?", pattern::port()))
});

impl OtlpUrl {
    /// Returns the parts of the URL.
    pub(crate) fn url(&self) -> &KeyUrl {
        &self.0
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.strip_suffix('/').unwrap_or(&text))
    }
}

impl FromStr for OtlpUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.parse() {
            Ok(KeySource::Url(url)) if !url.target.contains('?') => Ok(Self(url)),
            _ => Err(Malformed::new(format!("`{text}` is not the URL of a receiver of OTLP")).help(
                "write it with its port, which is mostly 4317 for gRPC and 4318 for HTTP: \
                 `http://127.0.0.1:4317`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OtlpUrl;

    #[test]
    fn receiver_is_a_url_without_query() {
        for (text, shown) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317"),
            ("https://otel.example/", "https://otel.example"),
            ("https://otel.example:4318/v1/traces", "https://otel.example:4318/v1/traces"),
            ("http://[::1]:4317", "http://[::1]:4317"),
        ] {
            assert_eq!(text.parse::<OtlpUrl>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1:4317",
            "grpc://a:4317",
            "https://a/?b",
            "https://a/#b",
            "http://u:p@a",
            "http://a b",
        ] {
            assert!(text.parse::<OtlpUrl>().is_err(), "{text}");
        }
    }
}
