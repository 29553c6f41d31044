//! Placeholders for values of a request: `{header.x}`, `{path.id}`.

use std::fmt;

use super::header::HeaderName;
use super::template::{Piece, is_parameter_name, parameter_name};
use super::text::Malformed;

/// A value of a request that a text of the configuration takes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Placeholder {
    /// A parameter of the route's `match.template`, as the path has it.
    Path(Box<str>),
    /// A parameter of the query, decoded; the first one of its name.
    Query(Box<str>),
    /// A field of the request. Several lines are one list.
    Header(HeaderName),
    /// A claim of the caller.
    Identity(Box<str>),
    /// The address of the client, behind trusted proxies the one that they name.
    ClientIp,
    /// The requested host, without its port.
    Host,
    /// The id of the request.
    RequestId,
}

/// A part of a text with placeholders.
pub(crate) type Part = Piece<Placeholder>;

/// The prefixes of names that a text chooses.
const PREFIXES: [&str; 4] = ["path", "query", "header", "identity"];

/// The characters of the names of parameters, claims and fields in a path, where a `/` or a `;` would divide it.
const NAME_IN_PATH: &str = "[0-9A-Za-z!$'*+._~-]+";

/// Returns a pattern for a placeholder in the value of a field.
pub(super) fn pattern() -> String {
    of_names("[!-z|~]+", super::pattern::TOKEN)
}

/// Returns a pattern for a placeholder in a path.
pub(super) fn pattern_in_path() -> String {
    of_names(NAME_IN_PATH, NAME_IN_PATH)
}

fn of_names(name: &str, field: &str) -> String {
    let parameter = "[A-Za-z_][0-9A-Za-z_]*";
    let field = format!("(?![Hh][Oo][Ss][Tt]\\}}){field}");
    format!(
        "\\{{(?:path\\.{parameter}|query\\.{name}|header\\.{field}|identity\\.{name}|client_ip|host|request_id)\\}}"
    )
}

/// Returns a pattern for a brace that stands for itself, or is one of two that do.
pub(super) fn pattern_of_braces() -> String {
    format!("\\{{(?:\\{{|(?!\\{{|(?:{})\\.))", PREFIXES.join("|"))
}

impl Placeholder {
    /// Returns the placeholder of this name; `None` for a text in braces that is none.
    ///
    /// # Errors
    /// The name has a prefix of placeholders, and no valid rest.
    pub(super) fn parse(name: &str) -> Result<Option<Self>, Malformed> {
        Ok(Some(match name {
            "client_ip" => Self::ClientIp,
            "host" => Self::Host,
            "request_id" => Self::RequestId,
            _ => match name.split_once('.') {
                Some((prefix, rest)) if PREFIXES.contains(&prefix) => Self::parse_named(prefix, rest)?,
                _ => return Ok(None),
            },
        }))
    }

    fn parse_named(prefix: &str, name: &str) -> Result<Self, Malformed> {
        let malformed = |help: &str| {
            let shown = name.chars().take(40).collect::<String>();
            Malformed::new(format!("`{{{prefix}.{shown}}}` is not a placeholder")).help(help)
        };
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        match prefix {
            "path" if is_parameter_name(name) => Ok(Self::Path(name.into())),
            "path" => Err(malformed("write a parameter of `match.template`: `{path.id}`")),
            "query" if is_name => Ok(Self::Query(name.into())),
            "query" => Err(malformed("write the name of a parameter: `{query.page}`")),
            "identity" if is_name => Ok(Self::Identity(name.into())),
            "identity" => Err(malformed("write the name of a claim: `{identity.sub}`")),
            _ => match name.parse::<HeaderName>() {
                Ok(field) if *field.as_http() == http::header::HOST => Err(malformed("write `{host}`")),
                Ok(field) => Ok(Self::Header(field)),
                Err(_) => Err(malformed("write the name of a field: `{header.x-tenant}`")),
            },
        }
    }

    /// Returns the placeholder of this name in a path. A name that is no other is a parameter of the match.
    pub(super) fn in_path(name: &str) -> Result<Self, Malformed> {
        let Some(placeholder) = Self::parse(name)? else { return parameter_name(name).map(Self::Path) };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!$'*+._~-".contains(&byte);
        if !name.bytes().all(is_plain) {
            return Err(Malformed::new(format!("`{placeholder}` cannot stand in a path"))
                .help("write a name of letters, digits, `.`, `_` and `-`"));
        }
        Ok(placeholder)
    }

    /// Returns the name if it may be that of a parameter of the match, too.
    pub(crate) fn bare_name(&self) -> Option<&'static str> {
        match self {
            Self::ClientIp => Some("client_ip"),
            Self::Host => Some("host"),
            Self::RequestId => Some("request_id"),
            Self::Path(_) | Self::Query(_) | Self::Header(_) | Self::Identity(_) => None,
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "{{path.{name}}}"),
            Self::Query(name) => write!(f, "{{query.{name}}}"),
            Self::Header(name) => write!(f, "{{header.{name}}}"),
            Self::Identity(claim) => write!(f, "{{identity.{claim}}}"),
            Self::ClientIp | Self::Host | Self::RequestId => {
                write!(f, "{{{}}}", self.bare_name().unwrap_or_default())
            }
        }
    }
}

/// Splits a text into its parts. Braces around anything but a placeholder stand for themselves, and `{{` stands for `{`.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    let (mut literal, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('{') {
            literal.push('{');
            rest = after;
            continue;
        }
        let end = rest.find('}').and_then(|end| rest.split_at_checked(end));
        let (name, after) =
            end.map_or((rest, ""), |(name, after)| (name, after.get(1..).unwrap_or_default()));
        // A name with a known prefix must end.
        match Placeholder::parse(name)? {
            Some(_) if end.is_none() && !name.contains('.') => literal.push('{'),
            Some(_) if end.is_none() => {
                return Err(
                    Malformed::new(format!("`{{{name}` has no `}}`")).help("write `{{` for a brace itself")
                );
            }
            Some(placeholder) => {
                push_literal(&mut parts, &mut literal);
                parts.push(Part::Parameter(placeholder));
                rest = after;
            }
            None => literal.push('{'),
        }
    }
    literal.push_str(rest);
    push_literal(&mut parts, &mut literal);
    Ok(parts)
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let parts = parts(text).map_err(|error| error.message)?;
        let show = |part: &Part| match part {
            Part::Literal(text) => text.to_string(),
            Part::Parameter(placeholder) => format!("<{placeholder}>"),
        };
        Ok(parts.iter().map(show).collect())
    }

    #[test]
    fn known_names_in_braces_are_placeholders_and_all_else_stands_for_itself() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{path.id}", "<{path.id}>"),
            ("a{query.v[0]}b{header.X-Y}c", "a<{query.v[0]}>b<{header.x-y}>c"),
            ("{client_ip}{host}{request_id}", "<{client_ip}><{host}><{request_id}>"),
            ("{identity.https://a.b/roles}", "<{identity.https://a.b/roles}>"),
            ("{id} {} {a.b} {\"report\":{}}", "{id} {} {a.b} {\"report\":{}}"),
            ("{{path.id}} {{{path.id}", "{path.id}} {<{path.id}>"),
            ("} {host", "} {host"),
            ("{Host} {client-ip}", "{Host} {client-ip}"),
            ("{{{{", "{{"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn known_prefix_needs_a_valid_name_and_its_end() {
        for text in [
            "{path.}",
            "{path.a-b}",
            "{query.}",
            "{query.a b}",
            "{header.}",
            "{header.a b}",
            "{header.Host}",
            "{identity.}",
            "{path.id",
            "{header.x{y}",
            "{query.é}",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
