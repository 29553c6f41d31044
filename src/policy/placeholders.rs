//! Values of a request in texts of the configuration.
//!
//! A request may lack a value. A text with it is none then: an empty place could mean something else, as in `/users//orders`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};

use super::identity::Identity;
use crate::config::{HeaderTemplate, Part, Placeholder};
use crate::http::fields::Fields;
use crate::http::parts::percent_decode;
use crate::http::path::{EncodedSlash, is_unreserved, normalise, push_escape};
use crate::router::Parameters;

/// The values of a request, each computed only where a text asks for it.
pub(crate) trait RequestValues {
    /// Returns the parameters of its path.
    fn parameters(&self) -> Parameters<'_, '_>;

    fn query(&self) -> Option<&str>;

    /// Returns its fields, as filters have left them.
    fn headers(&self) -> &Fields;

    /// Returns the requested host without its port; empty if there is none.
    fn host(&self) -> &str;

    /// Returns the address of its client, unless it is a Unix socket.
    fn client_ip(&self) -> Option<IpAddr>;

    fn identity(&self) -> Option<&Identity>;

    fn request_id(&self) -> Option<&HeaderValue>;
}

/// Returns the value of a placeholder; `None` if the request has none, or an empty one.
fn value<'v>(values: &'v dyn RequestValues, placeholder: &Placeholder) -> Option<Cow<'v, str>> {
    let value = match placeholder {
        Placeholder::Path(name) => values.parameters().get(name).map(Cow::Borrowed),
        Placeholder::Query(name) => parameter(values.query()?, name).map(Cow::Owned),
        Placeholder::Header(name) => field(values.headers(), name.as_http()),
        Placeholder::Identity(claim) => values.identity()?.text(claim),
        Placeholder::ClientIp => values.client_ip().map(|client| Cow::Owned(client.to_string())),
        Placeholder::Host => Some(Cow::Owned(values.host().to_ascii_lowercase())),
        Placeholder::RequestId => values.request_id()?.to_str().ok().map(Cow::Borrowed),
    };
    value.filter(|value| !value.is_empty())
}

/// Returns the first parameter of this name, both decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = pairs.filter(|(written, _)| percent_decode(written).eq(name.bytes()));
    String::from_utf8(percent_decode(found.next()?.1).collect()).ok()
}

/// Returns the value of a field. Several lines are one list (RFC 9110 §5.3), which for cookies has its own separator.
fn field<'h>(headers: &'h Fields, name: &HeaderName) -> Option<Cow<'h, str>> {
    let mut lines = headers.get_all(name).map(|line| std::str::from_utf8(line.as_bytes()));
    let first = lines.next()?.ok()?;
    let separator = if name == header::COOKIE { "; " } else { ", " };
    let mut value = Cow::Borrowed(first);
    for line in lines {
        let value = value.to_mut();
        value.push_str(separator);
        value.push_str(line.ok()?);
    }
    Some(value)
}

/// Returns the value of a field with those of the request in it; `None` if one is missing, or cannot stand in a field.
pub(super) fn field_value(template: &HeaderTemplate, values: &dyn RequestValues) -> Option<HeaderValue> {
    let mut text = String::new();
    for part in template.parts() {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Parameter(placeholder) => text.push_str(&value(values, placeholder)?),
        }
    }
    HeaderValue::try_from(text).ok()
}

/// Returns the value of a placeholder as a segment of a path; `None` if there is none, or if another server could take it for
/// something else than a segment. A parameter of the path is one already.
pub(super) fn segment<'v>(values: &'v dyn RequestValues, placeholder: &Placeholder) -> Option<Cow<'v, str>> {
    let own = match placeholder {
        Placeholder::Path(name) => Some(&**name),
        // A match may have a parameter of this name, which then comes first.
        other => other.bare_name(),
    };
    if let Some(own) = own.and_then(|name| values.parameters().get(name)) {
        return Some(Cow::Borrowed(own));
    }
    let escaped = escaped(values, placeholder)?;
    let path = format!("/{escaped}");
    normalise(&path, EncodedSlash::Reject).is_ok_and(|normal| normal == path).then_some(escaped)
}

/// Returns the value of a placeholder with escapes for all characters that could end it.
pub(super) fn escaped<'v>(values: &'v dyn RequestValues, placeholder: &Placeholder) -> Option<Cow<'v, str>> {
    let value = value(values, placeholder)?;
    // The path has its parameters with escapes.
    if matches!(placeholder, Placeholder::Path(_)) || value.bytes().all(is_unreserved) {
        return Some(value);
    }
    let mut escaped = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if is_unreserved(byte) {
            escaped.push(char::from(byte));
        } else {
            push_escape(&mut escaped, byte);
        }
    }
    Some(Cow::Owned(escaped))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::config::{PathTemplate, RewriteTemplate};

    /// The values of a request in tests.
    pub(crate) struct Values {
        pub(crate) template: PathTemplate,
        pub(crate) path: &'static str,
        pub(crate) query: Option<&'static str>,
        pub(crate) headers: Fields,
        pub(crate) identity: Option<Identity>,
    }

    impl Values {
        /// Returns the values of a request with the path of a template, and a query.
        pub(crate) fn new(template: &str, path: &'static str, query: &'static str) -> Self {
            let (template, query) = (template.parse().unwrap(), Some(query));
            Self { template, path, query, headers: Fields::new(), identity: None }
        }
    }

    impl RequestValues for Values {
        fn parameters(&self) -> Parameters<'_, '_> {
            Parameters::new(Some(&self.template), self.path)
        }

        fn query(&self) -> Option<&str> {
            self.query
        }

        fn headers(&self) -> &Fields {
            &self.headers
        }

        fn host(&self) -> &str {
            "A.Example"
        }

        fn client_ip(&self) -> Option<IpAddr> {
            Some(IpAddr::from([192, 0, 2, 1]))
        }

        fn identity(&self) -> Option<&Identity> {
            self.identity.as_ref()
        }

        fn request_id(&self) -> Option<&HeaderValue> {
            None
        }
    }

    #[test]
    fn field_gets_the_values_of_the_request_or_is_none() {
        let query = "v=a%20b+c&v=2&e=&bad=%ff&crlf=a%0d%0aX:%20y&%6eame=n";
        let mut values = Values::new("/t/{id}/{host}", "/t/a%20b/other", query);
        values.headers = Fields::written(&[
            ("x-a", "1"),
            ("cookie", "a=1"),
            ("x-a", "2"),
            ("cookie", "b=2"),
            ("x-empty", ""),
        ]);
        let claims = Map::from_iter([("groups".to_owned(), json!(["a", "b"]))]);
        values.identity = Some(Identity { way: "w".into(), subject: "ann".into(), claims });
        for (template, expected) in [
            ("{path.id}-{path.host}", Some("a%20b-other")),
            ("{query.v}", Some("a b+c")),
            ("{query.name}", Some("n")),
            ("{query.e}", None),
            ("{query.missing}", None),
            ("{query.bad}", None),
            ("{query.crlf}", None),
            ("<{header.x-a}> {header.cookie}", Some("<1, 2> a=1; b=2")),
            ("{header.x-empty}", None),
            ("{header.x-b}", None),
            ("{host} {client_ip}", Some("a.example 192.0.2.1")),
            ("{identity.sub}:{identity.groups}", Some("ann:a,b")),
            ("always {identity.missing}", None),
            ("{request_id}", None),
            ("{{host} {x}", Some("{host} {x}")),
        ] {
            let found = field_value(&template.parse().unwrap(), &values);
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected, "{template}");
        }
    }

    #[test]
    fn segment_is_one_to_every_server() {
        let query = "v=a%20b&slash=a%2fb&dots=..&dot=.&hidden=..;x&back=a%5Cb&e=&u=%c3%a9&q=a%3fb%23c";
        let values = Values::new("/t/{id}/{host}", "/t/a%2Fb/other", query);
        for (name, expected) in [
            ("id", Some("a%2Fb")),
            ("path.id", Some("a%2Fb")),
            ("host", Some("other")),
            ("client_ip", Some("192.0.2.1")),
            ("query.v", Some("a%20b")),
            ("query.u", Some("%C3%A9")),
            ("query.q", Some("a%3Fb%23c")),
            ("query.slash", None),
            ("query.dots", None),
            ("query.dot", None),
            ("query.hidden", None),
            ("query.back", None),
            ("query.e", None),
            ("query.missing", None),
            ("identity.sub", None),
        ] {
            let template: RewriteTemplate = format!("/{{{name}}}").parse().unwrap();
            let placeholder = template.placeholders().next().unwrap();
            assert_eq!(segment(&values, placeholder).as_deref(), expected, "{name}");
        }
    }
}
