//! What the authorizer is asked, and what its answer means.

use serde::{Deserialize, Deserializer, de::Error};
use std::time::Duration;

/// Fields, as the gateway hands them over: names in small letters, values of any bytes.
pub(crate) type Fields = [(String, Vec<u8>)];

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authorizer {
    /// One of the gateway's `upstreams`.
    pub(crate) upstream: String,
    /// What is asked for, with GET.
    path: String,
    #[serde(default = "half_a_second")]
    timeout_ms: u32,
    /// Fields of the answer that the request takes on, and that no client can send.
    #[serde(default, deserialize_with = "field_names")]
    pub(crate) forward: Vec<String>,
}

fn half_a_second() -> u32 {
    500
}

/// Names in small letters. Those that frame or route a message are none that an answer may change.
fn field_names<'a, D: Deserializer<'a>>(value: D) -> Result<Vec<String>, D::Error> {
    const NEVER: [&str; 6] = ["", "connection", "content-length", "host", "te", "transfer-encoding"];
    let names: Vec<String> = Vec::deserialize(value)?;
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    match names.iter().find(|name| NEVER.contains(&name.as_str()) || name.starts_with(':')) {
        Some(name) => Err(D::Error::custom(format!("`{name}` cannot be forwarded"))),
        None => Ok(names),
    }
}

impl Authorizer {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }

    pub(crate) fn forwards(&self, name: &str) -> bool {
        self.forward.iter().any(|forwarded| forwarded == name)
    }

    /// The fields of the request to the authorizer; `None` where a client sent what is not text, which the SDK cannot
    /// send on: leaving it out would ask about another request than the one that came.
    pub(crate) fn question<'a>(&'a self, request: &'a Fields) -> Option<Vec<(&'a str, &'a str)>> {
        let mut question = vec![(":method", "GET"), (":path", &*self.path), (":authority", &*self.upstream)];
        for (name, value) in request {
            let name = match name.as_str() {
                ":method" => "x-original-method",
                ":path" => "x-original-path",
                ":authority" => "x-original-host",
                "authorization" | "cookie" => name,
                _ => continue,
            };
            question.push((name, str::from_utf8(value).ok()?));
        }
        Some(question)
    }
}

/// What comes of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    /// The client gets the answer, with this status.
    Refuse(u32),
    /// No answer, or one that says neither.
    None,
}

pub(crate) fn of(answer: &Fields) -> Verdict {
    let mut statuses = answer.iter().filter(|(name, _)| name == ":status");
    match statuses.next().map(|(_, value)| value.as_slice()) {
        Some([b'2', b'0'..=b'9', b'0'..=b'9']) => Verdict::Pass,
        Some(b"401") => Verdict::Refuse(401),
        Some(b"403") => Verdict::Refuse(403),
        _ => Verdict::None,
    }
}

/// The fields of a refusal that are the client's to know.
pub(crate) fn for_the_client(answer: &Fields) -> Vec<(&str, &str)> {
    answer
        .iter()
        .filter(|(name, _)| name == "content-type" || name == "www-authenticate")
        .filter_map(|(name, value)| Some((name.as_str(), str::from_utf8(value).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorizer(rest: &str) -> Result<Authorizer, serde_json::Error> {
        serde_json::from_str(&format!(r#"{{"upstream":"authorizer","path":"/check"{rest}}}"#))
    }

    fn fields(pairs: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    }

    #[test]
    fn only_a_2xx_passes_and_only_401_and_403_refuse() {
        let table: [(&[u8], Verdict); 12] = [
            (b"200", Verdict::Pass),
            (b"204", Verdict::Pass),
            (b"299", Verdict::Pass),
            (b"401", Verdict::Refuse(401)),
            (b"403", Verdict::Refuse(403)),
            (b"302", Verdict::None),
            (b"404", Verdict::None),
            (b"500", Verdict::None),
            (b"20", Verdict::None),
            (b"2000", Verdict::None),
            (b"2x0", Verdict::None),
            (b"", Verdict::None),
        ];
        for (status, expected) in table {
            assert_eq!(of(&fields(&[(":status", status)])), expected, "{}", status.escape_ascii());
        }
        assert_eq!(of(&[]), Verdict::None);
        assert_eq!(of(&fields(&[("status", b"200")])), Verdict::None);
    }

    #[test]
    fn the_authorizer_is_told_the_request_and_its_credentials_and_nothing_else() {
        let request = fields(&[
            (":method", b"POST"),
            (":path", b"/a?b"),
            (":authority", b"example.com"),
            (":scheme", b"http"),
            ("authorization", b"Bearer x"),
            ("cookie", b"a=1"),
            ("cookie", b"b=2"),
            ("x-original-path", b"/forged"),
            ("content-length", b"3"),
        ]);
        let expected = [
            (":method", "GET"),
            (":path", "/check"),
            (":authority", "authorizer"),
            ("x-original-method", "POST"),
            ("x-original-path", "/a?b"),
            ("x-original-host", "example.com"),
            ("authorization", "Bearer x"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ];
        assert_eq!(authorizer("").unwrap().question(&request).unwrap(), expected);
    }

    #[test]
    fn a_credential_that_is_not_text_is_not_left_out() {
        for name in ["authorization", "cookie", ":path"] {
            assert!(authorizer("").unwrap().question(&fields(&[(name, b"\xff")])).is_none(), "{name}");
        }
        assert!(authorizer("").unwrap().question(&fields(&[("accept", b"\xff")])).is_some());
    }

    #[test]
    fn a_refusal_shows_its_type_and_challenges() {
        let answer = fields(&[
            (":status", b"401"),
            ("www-authenticate", b"Basic"),
            ("www-authenticate", b"Bearer"),
            ("content-type", b"text/plain"),
            ("content-length", b"3"),
            ("server", b"x"),
        ]);
        let expected =
            [("www-authenticate", "Basic"), ("www-authenticate", "Bearer"), ("content-type", "text/plain")];
        assert_eq!(for_the_client(&answer), expected);
    }

    #[test]
    fn configurations_that_would_not_do_what_they_seem_to_are_refused() {
        for rest in [
            r#","forward":["Host"]"#,
            r#","forward":[":path"]"#,
            r#","forward":[""]"#,
            r#","forward":"x-user""#,
            r#","timeout":"1s""#,
            r#","timeout_ms":-1"#,
        ] {
            assert!(authorizer(rest).is_err(), "{rest}");
        }
        let authorizer = authorizer(r#","forward":["X-User"],"timeout_ms":50"#).unwrap();
        assert!(authorizer.forwards("x-user") && !authorizer.forwards("x-users"));
        assert_eq!(authorizer.timeout(), Duration::from_millis(50));
        assert!(serde_json::from_str::<Authorizer>(r#"{"upstream":"a"}"#).is_err());
    }
}
