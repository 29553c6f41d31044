//! The fields of a line of the access log, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::header::HeaderName;
use super::parameter_name::ParameterName;
use super::pattern;
use super::text::{Malformed, text_type};
use crate::config::load::similar::Similar;

/// A field of a line of the access log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogField {
    /// One that each request has, or may have.
    Own(OwnField),
    /// Written as `header.NAME`: a field of the request, as received.
    Header(HeaderName),
    /// Written as `response.header.NAME`: a field of the response, as the client gets it.
    ResponseHeader(HeaderName),
    /// Written as `query.NAME`: a parameter of the query.
    Query(ParameterName),
    /// Written as `identity.CLAIM`: a claim of the caller.
    Identity(Box<str>),
}

/// A visitor of fields. A closure could not ask to be inlined, which makes each visit code for its field alone.
pub(crate) trait FieldVisitor {
    fn visit(&mut self, field: OwnField);
}

/// Defines the fields with their names, in the order of a line that chooses none.
macro_rules! own_fields {
    ($($field:ident $name:literal $is_default:literal,)*) => {
        /// A field without a parameter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum OwnField { $($field,)* }

        impl OwnField {
            /// All fields.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$field,)*];

            /// Returns the name, in the file and in lines.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            /// Returns true for a field of lines that choose none.
            pub(crate) const fn is_default(self) -> bool {
                match self { $(Self::$field => $is_default,)* }
            }

            /// Visits the fields of lines that choose none, in the order of [`Self::ALL`].
            #[inline(always)]
            pub(crate) fn visit_default(visitor: &mut impl FieldVisitor) {
                $(if $is_default { visitor.visit(Self::$field); })*
            }
        }
    };
}

own_fields! {
    Time "time" true,
    UnixTime "unix_time" false,
    Client "client" true,
    Listener "listener" true,
    Method "method" true,
    Target "target" true,
    Path "path" false,
    Version "version" true,
    Host "host" true,
    Status "status" true,
    GrpcStatus "grpc_status" true,
    Route "route" true,
    Endpoint "endpoint" true,
    Reused "reused" true,
    Attempts "attempts" true,
    RequestBytes "request_bytes" true,
    ResponseBytes "response_bytes" true,
    Acquire "acquire_ms" true,
    Connect "connect_ms" true,
    FirstByte "first_byte_ms" true,
    Total "total_ms" true,
    Error "error" true,
    UserAgent "user_agent" true,
    Referer "referer" true,
    Auth "auth" true,
    Identity "identity" true,
    RequestId "request_id" true,
    TraceId "trace_id" true,
    SpanId "span_id" true,
}

/// The prefixes of fields with a name, each with an example.
const PREFIXES: [(&str, &str); 4] = [
    ("header.", "header.x-tenant"),
    ("response.header.", "response.header.content-type"),
    ("query.", "query.page"),
    ("identity.", "identity.sub"),
];

text_type!(LogField, format: "log-field", pattern: {
    let own = pattern::any(OwnField::ALL.iter().map(|field| field.name()));
    let token = pattern::TOKEN;
    pattern::whole(&pattern::any([
        own,
        format!("(?:response\\.)?header\\.{token}"),
        "query\\.[A-Za-z0-9._~-]+".to_owned(),
        "identity\\.[!-z|~]+".to_owned(),
    ]))
});

impl fmt::Display for LogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(field) => f.write_str(field.name()),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::ResponseHeader(name) => write!(f, "response.header.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Identity(claim) => write!(f, "identity.{claim}"),
        }
    }
}

impl FromStr for LogField {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Some(own) = OwnField::ALL.iter().find(|field| field.name() == text) {
            return Ok(Self::Own(*own));
        }
        let Some((prefix, example)) = PREFIXES.into_iter().find(|(prefix, _)| text.starts_with(prefix))
        else {
            return Err(unknown(text));
        };
        let name = text.get(prefix.len()..).unwrap_or_default();
        let malformed = || {
            Malformed::new(format!("`{text}` is no field of a line"))
                .help(format!("write a name, as in `{example}`"))
        };
        match prefix {
            "header." => name.parse().map(Self::Header).map_err(|_| malformed()),
            "response.header." => name.parse().map(Self::ResponseHeader).map_err(|_| malformed()),
            "query." => name.parse().map(Self::Query).map_err(|_| malformed()),
            _ => {
                let is_claim = |byte: u8| byte.is_ascii_graphic() && !b"{}".contains(&byte);
                let is_name = !name.is_empty() && name.bytes().all(is_claim);
                is_name.then(|| Self::Identity(name.into())).ok_or_else(malformed)
            }
        }
    }
}

/// Returns the error for an unknown name, with the one that was probably meant.
fn unknown(text: &str) -> Malformed {
    let names = OwnField::ALL.iter().map(|field| field.name());
    // A shell or another program may have its own notation.
    let plain = text.trim_start_matches('$').replace('-', "_").to_ascii_lowercase();
    let help = match Similar::default().find(&plain, names.clone()) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => {
            let names: Vec<&str> = names
                .chain(["header.NAME", "response.header.NAME", "query.NAME", "identity.CLAIM"])
                .collect();
            format!("the fields are `{}`", names.join("`, `"))
        }
    };
    Malformed::new(format!("`{text}` is no field of a line")).help(help)
}

#[cfg(test)]
mod tests {
    use super::{LogField, OwnField};

    #[test]
    fn fields_of_a_line_are_read_and_printed() {
        let own = OwnField::ALL.iter().map(|field| field.name());
        for text in own.chain([
            "header.x-tenant",
            "response.header.location",
            "query.page",
            "identity.https://a.b/roles",
        ]) {
            assert_eq!(text.parse::<LogField>().unwrap().to_string(), text);
        }
        assert_eq!("header.X-A".parse::<LogField>().unwrap().to_string(), "header.x-a");
    }

    #[test]
    fn unknown_field_has_a_suggestion() {
        for (text, help) in [
            ("rout", "did you mean `route`?"),
            ("$status", "did you mean `status`?"),
            ("User-Agent", "did you mean `user_agent`?"),
            ("nothing_like_it", "the fields are `time`, "),
            ("", "the fields are `time`, "),
            ("header.", "write a name, as in `header.x-tenant`"),
            ("header.a b", "write a name, as in `header.x-tenant`"),
            ("response.header.", "write a name, as in `response.header.content-type`"),
            ("query.a=b", "write a name, as in `query.page`"),
            ("identity.", "write a name, as in `identity.sub`"),
            ("identity.{a}", "write a name, as in `identity.sub`"),
        ] {
            let error = text.parse::<LogField>().unwrap_err();
            assert!(error.help.as_ref().unwrap().starts_with(help), "{text}: {error:?}");
        }
    }
}
