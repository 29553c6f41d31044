//! Finding fields in JSON text. Only the values that are replaced change: all else stays as it was written, byte for
//! byte, be it numbers of any length, the order of fields, names that come twice or white space.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redaction {
    /// Names of fields, compared exactly, in objects of any depth.
    fields: Vec<String>,
    /// What stands in place of their values: any JSON.
    #[serde(default = "stars")]
    replacement: Value,
}

fn stars() -> Value {
    Value::from("***")
}

/// Whether a `content-type` says JSON: `application/json`, or a type that ends in `+json` (RFC 6839 §3.1).
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || essence.ends_with(b"+json")
}

impl Redaction {
    /// The body with the values of the fields replaced; `None` where there are none, or where it is not JSON.
    pub(crate) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        serde_json::from_slice::<IgnoredAny>(body).ok()?;
        let replacement = self.replacement.to_string();
        let mut redacted = Vec::new();
        let mut copied = 0;
        let mut at = 0;
        while let Some(string) = position(body, at, |byte| byte == b'"') {
            at = string + value_len(body.get(string..)?)?;
            let colon = position(body, at, |byte| !byte.is_ascii_whitespace());
            let Some(colon) = colon.filter(|&next| body.get(next) == Some(&b':')) else { continue };
            if self.names(body.get(string..at)?) {
                let value = position(body, colon + 1, |byte| !byte.is_ascii_whitespace())?;
                at = value + value_len(body.get(value..)?)?;
                redacted.extend_from_slice(body.get(copied..value)?);
                redacted.extend_from_slice(replacement.as_bytes());
                copied = at;
            }
        }
        redacted.extend_from_slice(body.get(copied..)?);
        (copied > 0).then_some(redacted)
    }

    /// Whether a name, in quotes and with its escapes, is one of the fields.
    fn names(&self, quoted: &[u8]) -> bool {
        serde_json::from_slice::<String>(quoted).is_ok_and(|name| self.fields.contains(&name))
    }
}

fn position(body: &[u8], from: usize, matches: impl Fn(u8) -> bool) -> Option<usize> {
    Some(from + body.get(from..)?.iter().position(|&byte| matches(byte))?)
}

/// Bytes of the JSON value at the start. Skipping a value needs no recursion, so that depth is no way past the filter.
fn value_len(json: &[u8]) -> Option<usize> {
    let mut values = Deserializer::from_slice(json).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(config: &str) -> Redaction {
        serde_json::from_str(config).unwrap()
    }

    fn applied(config: &str, body: &str) -> Option<String> {
        redaction(config).apply(body.as_bytes()).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn values_of_the_fields_are_replaced_wherever_they_are_and_all_else_stays_as_written() {
        let table = [
            (r#"{"ssn":"1","a":2}"#, r#"{"ssn":"***","a":2}"#),
            (r#"{ "ssn" : 12 }"#, r#"{ "ssn" : "***" }"#),
            ("{\"ssn\"\n:\t-1.5e3\r\n}", "{\"ssn\"\n:\t\"***\"\r\n}"),
            (r#"[{"a":{"ssn":null}},{"ssn":true}]"#, r#"[{"a":{"ssn":"***"}},{"ssn":"***"}]"#),
            (r#"{"ssn":{"ssn":[1,"}"]},"b":[]}"#, r#"{"ssn":"***","b":[]}"#),
            (r#"{"ssn":[],"iban":{}}"#, r#"{"ssn":"***","iban":"***"}"#),
            (r#"{"ssn":1,"ssn":2}"#, r#"{"ssn":"***","ssn":"***"}"#),
            (r#"{"s\u0073n":1}"#, r#"{"s\u0073n":"***"}"#),
            (
                r#"{"z":123456789012345678901234567890.10,"ssn":1,"a":1E400}"#,
                r#"{"z":123456789012345678901234567890.10,"ssn":"***","a":1E400}"#,
            ),
            (r#"{"a":"\/ \u00e9 é","ssn":""}"#, r#"{"a":"\/ \u00e9 é","ssn":"***"}"#),
        ];
        for (body, expected) in table {
            let config = r#"{"fields":["ssn","iban"]}"#;
            assert_eq!(applied(config, body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_has_none_of_the_fields_or_is_not_json_is_left_alone() {
        let table = [
            "",
            "ssn",
            "\"ssn\"",
            r#"["ssn", "ssn"]"#,
            r#"{"a":"ssn"}"#,
            r#"{"a":"\"ssn\":1"}"#,
            r#"{"SSN":1}"#,
            r#"{"ssn ":1}"#,
            r#"{"\ud800":1}"#,
            r#"{"ssn":1"#,
            r#"{"ssn":1}}"#,
            r#"{"ssn":1} {"ssn":2}"#,
            r#"{"ssn":01}"#,
            r#"{'ssn':1}"#,
            r#"{"ssn":1,}"#,
            "\u{feff}{\"ssn\":1}",
        ];
        for body in table {
            assert_eq!(applied(r#"{"fields":["ssn"]}"#, body), None, "{body}");
        }
    }

    #[test]
    fn no_prefix_of_a_document_is_taken_for_one() {
        let body = br#"{"a":[1,{"ssn":"x\"y"}],"ssn":-0.5e+1}"#;
        for end in 0..body.len() {
            assert_eq!(redaction(r#"{"fields":["ssn"]}"#).apply(&body[..end]), None, "{end}");
        }
    }

    #[test]
    fn depth_is_no_way_past_it() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let redacted = applied(r#"{"fields":["ssn"]}"#, &format!("{open}{{\"ssn\":1}}{close}"));
        assert_eq!(redacted, Some(format!("{open}{{\"ssn\":\"***\"}}{close}")));
    }

    #[test]
    fn strings_that_are_not_unicode_are_no_way_past_it() {
        let redacted = redaction(r#"{"fields":["ssn"]}"#).apply(b"{\"a\":\"\xff\",\"ssn\":1}");
        assert_eq!(redacted.unwrap(), b"{\"a\":\"\xff\",\"ssn\":\"***\"}");
    }

    #[test]
    fn the_replacement_is_any_json() {
        for (replacement, expected) in [("null", "null"), (r#""a\"b""#, r#""a\"b""#), ("[1]", "[1]")] {
            let config = format!(r#"{{"fields":["a"],"replacement":{replacement}}}"#);
            assert_eq!(applied(&config, r#"{"a":1}"#), Some(format!(r#"{{"a":{expected}}}"#)));
        }
    }

    #[test]
    fn a_configuration_needs_fields_and_knows_no_other_keys() {
        for config in ["", "{}", r#"{"fields":"ssn"}"#, r#"{"fields":[],"field":1}"#] {
            assert!(serde_json::from_str::<Redaction>(config).is_err(), "{config}");
        }
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        let table: [(&[u8], bool); 9] = [
            (b"application/json", true),
            (b"Application/JSON; charset=utf-8", true),
            (b"application/problem+json", true),
            (b"application/ld+json ;a=b", true),
            (b"application/jsonp", false),
            (b"application/x-ndjson", false),
            (b"text/plain; a=+json", false),
            (b"\xff", false),
            (b"", false),
        ];
        for (content_type, expected) in table {
            assert_eq!(is_json(content_type), expected, "{}", content_type.escape_ascii());
        }
    }
}
