//! Path templates such as `/users/{id}/orders/{order}`, and the values of their parameters in a path.

use super::error::MatchError;
use super::specificity::PathSpecificity;
use crate::http::path::{EncodedSlash, normalise_written};

/// More segments than any API has. A specificity has as many bits.
const SEGMENTS_MAX: usize = 64;

/// A template: literal segments, and parameters that take any value but an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Matches itself only.
    Literal(Box<str>),
    /// Matches any value but an empty one. Holds the parameter's name.
    Parameter(Box<str>),
}

impl Template {
    pub(super) fn parse(written: &str, slashes: EncodedSlash) -> Result<Self, MatchError> {
        let mut segments = Vec::new();
        // Dot segments and escapes are resolved first, so that these segments compare with those of a request.
        let path = normalise_written(written, slashes)
            .map_err(|error| MatchError::Path { written: written.to_owned(), error })?;
        for text in path_segments(&path) {
            let segment = Segment::parse(text)?;
            if let Segment::Parameter(name) = &segment
                && segments.contains(&segment)
            {
                return Err(MatchError::RepeatedParameter(name.to_string()));
            }
            segments.push(segment);
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(MatchError::TooManySegments { max: SEGMENTS_MAX });
        }
        let template = Self { segments };
        if template.parameter_names().next().is_none() {
            return Err(MatchError::NoParameter(written.to_owned()));
        }
        Ok(template)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }

    pub(super) fn specificity(&self) -> PathSpecificity {
        let mut literal_positions = 0;
        let mut bit = 1 << (SEGMENTS_MAX - 1);
        for segment in &self.segments {
            if matches!(segment, Segment::Literal(_)) {
                literal_positions |= bit;
            }
            bit >>= 1;
        }
        PathSpecificity::Template { literals: u64::count_ones(literal_positions), literal_positions }
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, MatchError> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Literal(text.into()));
        }
        let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name.filter(|name| is_parameter_name(name)) {
            Some(name) => Ok(Self::Parameter(name.into())),
            None => Err(MatchError::TemplateSegment(text.to_owned())),
        }
    }
}

/// Returns true if `name` is a valid parameter name: ASCII letters, digits, `_` and `-`, at least one of them.
pub(crate) fn is_parameter_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Returns the segments of a path: the parts between its slashes, after the first slash.
pub(super) fn path_segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path.strip_prefix('/').unwrap_or(path));
    std::iter::from_fn(move || {
        let (segment, after) = split_segment(rest?);
        rest = after;
        Some(segment)
    })
}

/// Splits the part of a path after a slash into its first segment and, if another slash follows, the part after it.
///
/// Segments are a few octets long. Looking at one octet after the other is twice as fast as `split_once`, whose search
/// is made for long texts.
pub(super) fn split_segment(rest: &str) -> (&str, Option<&str>) {
    let slash = rest.bytes().position(|byte| byte == b'/');
    match slash.and_then(|at| rest.split_at_checked(at)) {
        Some((segment, after)) => (segment, after.get(1..)),
        None => (rest, None),
    }
}

/// The values that a path has for the parameters of its template, in the order of the template. There are none if the
/// route has no template.
///
/// Values are read from the path on demand. Nothing is stored, so a route that does not use them pays nothing. They are
/// as the path has them, including percent-encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters<'r, 'p> {
    template: Option<&'r Template>,
    path: &'p str,
}

impl<'r, 'p> Parameters<'r, 'p> {
    /// Returns the values in a path that `template` matches.
    pub(crate) fn new(template: Option<&'r Template>, path: &'p str) -> Self {
        Self { template, path }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { template: None, path: "" }
    }

    /// Returns the names and values, in the order of the template.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'r str, &'p str)> + use<'r, 'p> {
        let segments = self.template.map_or(&[][..], Template::segments);
        segments.iter().zip(path_segments(self.path)).filter_map(|(segment, value)| match segment {
            Segment::Parameter(name) => Some((&**name, value)),
            Segment::Literal(_) => None,
        })
    }

    /// Returns the value of the parameter `name`, if the template has it.
    pub(crate) fn get(&self, name: &str) -> Option<&'p str> {
        self.iter().find(|(parameter, _)| *parameter == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_whole_segments_with_names_of_their_own() {
        let refused = |written: &str| Template::parse(written, EncodedSlash::Reject).unwrap_err();
        assert_eq!(refused("/a/x{id}"), MatchError::TemplateSegment("x{id}".into()));
        assert_eq!(refused("/a/{}"), MatchError::TemplateSegment("{}".into()));
        assert_eq!(refused("/a/{*rest}"), MatchError::TemplateSegment("{*rest}".into()));
        assert_eq!(refused("/a/{b"), MatchError::TemplateSegment("{b".into()));
        assert_eq!(refused("/{a}/{a}"), MatchError::RepeatedParameter("a".into()));
        assert_eq!(refused("/a/b"), MatchError::NoParameter("/a/b".into()));
        assert_eq!(refused(&format!("/{{a}}{}", "/b".repeat(64))), MatchError::TooManySegments { max: 64 });
        assert!(matches!(refused("users/{id}"), MatchError::Path { .. }));
    }

    #[test]
    fn parameters_are_read_from_the_path_as_it_is() {
        let template = Template::parse("/users/{id}/orders/{order}", EncodedSlash::Reject).unwrap();
        let parameters = Parameters::new(Some(&template), "/users/a%20b/orders/7");
        assert_eq!(parameters.iter().collect::<Vec<_>>(), [("id", "a%20b"), ("order", "7")]);
        assert_eq!(parameters.get("order"), Some("7"));
        assert_eq!(parameters.get("users"), None);
        assert_eq!(Parameters::none().iter().count(), 0);
    }

    #[test]
    fn more_literal_segments_are_more_specific_then_those_to_the_left() {
        let order =
            ["/{a}/{b}/{c}", "/{a}/{b}/c", "/{a}/b/{c}", "/a/{b}/{c}", "/{a}/b/c", "/a/{b}/c", "/a/b/{c}"];
        let specificities: Vec<_> =
            order.map(|text| Template::parse(text, EncodedSlash::Reject).unwrap().specificity()).into();
        assert!(specificities.is_sorted_by(|less, more| less < more), "{specificities:?}");
    }
}
