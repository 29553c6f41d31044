//! A request that a route matches: a sample for a router, and a command for a shell.

use http::HeaderName;

use super::word::Word;
use crate::config::values::header::ValueMatch;
use crate::config::values::template::with_parameters;
use crate::config::{HostPattern, Loaded, Method, PathMatch, Route, Segment};
use crate::http::fields::Fields;
use crate::http::path::{EncodedSlash, normalise};
use crate::path;
use crate::router::RequestLine;

/// The values of a request that its route leaves open.
pub(super) struct Sample {
    /// A header, a query parameter or a parameter of a template.
    value: &'static str,
    /// The first label of a host below a domain.
    label: &'static str,
    /// The segment below a prefix.
    segment: &'static str,
}

/// The samples in the order of trying. A more specific route may match the first one.
pub(super) const SAMPLES: [Sample; 2] =
    [Sample { value: "1", label: "www", segment: "" }, Sample { value: "x", label: "x", segment: "x" }];

/// A query of the router: returns true if it selects the route of this name for a request.
pub(super) type IsRouted<'a> = dyn Fn(&RequestLine<'_>, &str) -> bool + 'a;

/// A value of the configuration, and the word that stands for it in a command.
pub(super) struct Value {
    pub(super) real: String,
    pub(super) shown: Word,
}

impl Value {
    fn of(loaded: &Loaded, path: &[Segment], real: &str) -> Self {
        let written = loaded.source.with_variables(path);
        Self { real: real.to_owned(), shown: written.map_or_else(|| Word::literal(real), Word::written) }
    }

    fn map(self, change: &dyn Fn(&str) -> String) -> Self {
        Self { real: change(&self.real), shown: self.shown.map(change) }
    }

    fn push(&mut self, text: &str) {
        self.real.push_str(text);
        self.shown.push(text);
    }

    fn append(&mut self, other: Self) {
        self.real.push_str(&other.real);
        self.shown.append(other.shown);
    }

    /// Percent-encodes all but unreserved characters (RFC 3986 §2.3) and those that are kept. `None` if a variable may have
    /// others: the shell does not encode its value.
    fn encoded(self, kept: &[u8]) -> Option<Self> {
        let encoded = |text: &str| encoded(text, kept);
        let is_encoded = !self.shown.has_variables() || encoded(&self.real) == self.real;
        is_encoded.then(|| self.map(&encoded))
    }
}

pub(super) struct Request {
    pub(super) method: Value,
    pub(super) host: Option<Value>,
    pub(super) headers: Vec<(String, Value)>,
    /// The path and the query.
    pub(super) target: Value,
}

impl Request {
    /// Returns a request that matches a route, if a command can be written for it.
    pub(super) fn new(loaded: &Loaded, index: usize, route: &Route, sample: &Sample) -> Option<Self> {
        let of = |keys: &[Segment], real: &str| {
            Value::of(loaded, &[&path!["routes", index, "match"], keys].concat(), real)
        };
        let wanted = |section: &str, name: &str, value: &ValueMatch<String>| match value {
            ValueMatch::Present => of(&[], sample.value),
            ValueMatch::Exact(value) => of(&path![section, name], value),
        };
        let matches = &route.matches;
        let host = match &matches.host {
            None => None,
            Some(HostPattern::Exact(host)) => Some(of(&path!["host"], host)),
            Some(HostPattern::Below(domain)) => {
                let pattern = of(&path!["host"], &format!("*.{domain}"));
                let label = |text: &str| {
                    text.strip_prefix('*')
                        .map_or_else(|| text.to_owned(), |below| format!("{}{below}", sample.label))
                };
                Some(pattern.shown.starts_with('*').then(|| pattern.map(&label))?)
            }
        };
        let headers = matches.headers.iter().map(|(name, value)| {
            let name = name.to_string();
            let value = wanted("headers", &name, &value.as_text());
            (name, value)
        });
        let mut target = target(&of, matches.path_match(), sample)?.encoded(b"/%:@!$&'()*+,;=")?;
        for (position, (name, value)) in matches.query.iter().enumerate() {
            let separator = if position == 0 { "?" } else { "&" };
            target.push(&format!("{separator}{}=", encoded(name, b"")));
            target.append(wanted("query", name, value).encoded(b"")?);
        }
        let permitted = matches.methods.as_deref().unwrap_or_default();
        let position =
            permitted.iter().position(|method| *method.as_http() == http::Method::GET).unwrap_or(0);
        let name = permitted.get(position).map_or("GET", |method| Method::as_http(method).as_str());
        let method = of(&path!["methods", position], name);
        Some(Self { method, host, headers: headers.collect(), target })
    }

    /// Returns true if the router selects the route of this name for the request as curl sends it. `listener` is the
    /// router's number of the request's listener. Returns `None` if curl cannot send the request.
    pub(super) fn is_routed(
        &self,
        is_routed: &IsRouted<'_>,
        name: &str,
        listener: usize,
        address: &str,
    ) -> Option<bool> {
        let mut fields = Fields::default();
        for (name, value) in &self.headers {
            fields.append(HeaderName::try_from(name.as_str()).ok()?, value.real.parse().ok()?);
        }
        for (name, value) in [("user-agent", "curl"), ("accept", "*/*"), ("host", address)] {
            if !fields.contains_key(name) {
                fields.append(HeaderName::from_static(name), value.parse().ok()?);
            }
        }
        let (path, query) = match self.target.real.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.real.as_str(), None),
        };
        let path = normalise(path, EncodedSlash::Keep).ok()?;
        let host = self.host.as_ref().map_or(address, |host| host.real.as_str());
        let method = self.method.real.parse().ok()?;
        let request = RequestLine { listener, host, path: &path, query, method: &method, headers: &fields };
        Some(is_routed(&request, name))
    }
}

/// Returns a path that matches.
fn target(of: &dyn Fn(&[Segment], &str) -> Value, path: PathMatch<'_>, sample: &Sample) -> Option<Value> {
    let below = |mut path: Value| {
        if !sample.segment.is_empty() {
            let separator = if path.shown.ends_with('/') { "" } else { "/" };
            path.push(&format!("{separator}{}", sample.segment));
        }
        path
    };
    match path {
        PathMatch::Any => Some(below(Value { real: "/".to_owned(), shown: Word::literal("/") })),
        PathMatch::Exact(path) => Some(of(&path!["path"], path.as_str())),
        PathMatch::Prefix(path) => Some(below(of(&path!["prefix"], path.as_str()))),
        PathMatch::Template(template) => {
            let path = of(&path!["template"], template.as_str());
            // A parameter within a variable's value has no place in the command.
            let parameters = path.shown.literals().flat_map(|text| text.matches('{')).count();
            (parameters == template.parameters().count())
                .then(|| path.map(&|text| with_parameters(text, sample.value)))
        }
    }
}

fn encoded(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
