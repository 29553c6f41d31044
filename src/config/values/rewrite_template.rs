//! The paths that requests get on their way to an upstream, with values of the request.

use std::fmt;
use std::str::FromStr;

use super::path::{NO_DOTS, PathTemplate, SEGMENT, check_form, checked_normal, has_encoded_slash};
use super::pattern;
use super::placeholder::{self, Part, Placeholder};
use super::template::{self, PARAMETER, parameters};
use super::text::{Malformed, text_type};

/// A path whose segments may be values of the request: `/v2/users/{id}`, `/tenants/{identity.tenant}/files`. A name alone is a
/// parameter of the match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RewriteTemplate {
    text: String,
    /// One for each segment. Literals are in the form of requests' paths after normalising, without their slashes.
    segments: Box<[Part]>,
}

text_type!(RewriteTemplate, format: "rewrite-template", pattern: {
    let (placeholder, most) = (placeholder::pattern_in_path(), PathTemplate::SEGMENTS_MAX);
    pattern::whole(&format!("{NO_DOTS}(?:/(?:{PARAMETER}|{placeholder}|{SEGMENT})){{1,{most}}}"))
});

impl RewriteTemplate {
    /// Returns its segments in order. A literal may be empty.
    pub(crate) fn segments(&self) -> &[Part] {
        &self.segments
    }

    /// Returns true if one of its segments has a `%2F`.
    pub(crate) fn has_encoded_slash(&self) -> bool {
        has_encoded_slash(&self.segments)
    }

    /// Returns its placeholders in order.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        parameters(&self.segments)
    }
}

impl fmt::Display for RewriteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RewriteTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let written: Vec<&str> = text.split('/').collect();
        if written.len() > PathTemplate::SEGMENTS_MAX + 1 {
            return Err(Malformed::new(format!(
                "a template has at most {} segments",
                PathTemplate::SEGMENTS_MAX
            )));
        }
        let placeholders: Vec<Option<Placeholder>> =
            written.iter().map(|segment| placeholder_of(segment)).collect::<Result<_, _>>()?;
        // The checks of any path hold for the text around the placeholders.
        let pairs = written.iter().zip(&placeholders);
        let plain: Vec<&str> =
            pairs.map(|(segment, value)| if value.is_some() { "p" } else { segment }).collect();
        let plain = plain.join("/");
        check_form(&plain)?;
        let normal = checked_normal(&plain)?;
        let segments = normal.split('/').zip(placeholders).skip(1);
        let segments = segments
            .map(|(literal, value)| value.map_or_else(|| Part::Literal(literal.into()), Part::Parameter));
        Ok(Self { text: text.to_owned(), segments: segments.collect() })
    }
}

/// Returns the placeholder that a segment is, if it is one.
fn placeholder_of(segment: &str) -> Result<Option<Placeholder>, Malformed> {
    let mut parts = template::pieces(segment, Placeholder::in_path)?;
    let is_whole = parts.len() == 1;
    let placeholder = parts.iter().position(|part| matches!(part, Part::Parameter(_)));
    let Some(Part::Parameter(placeholder)) = placeholder.map(|at| parts.swap_remove(at)) else {
        return Ok(None);
    };
    if is_whole {
        return Ok(Some(placeholder));
    }
    let written = segment.find('{').zip(segment.find('}')).and_then(|(begin, end)| segment.get(begin..=end));
    let written = written.unwrap_or(segment);
    Err(Malformed::new(format!("`{written}` is not a whole segment"))
        .help(format!("put it between slashes: `/{written}/`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_literals_in_normal_form_and_placeholders() {
        let template: RewriteTemplate = "/%7Ea/{id}//{header.X-Tenant}/{host}/%c3/".parse().unwrap();
        let shown = template.segments().iter().map(|segment| match segment {
            Part::Literal(text) => text.to_string(),
            Part::Parameter(placeholder) => placeholder.to_string(),
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            ["~a", "{path.id}", "", "{header.x-tenant}", "{host}", "%C3", ""]
        );
        assert_eq!(template.placeholders().count(), 3);
        assert_eq!(template.to_string(), "/%7Ea/{id}//{header.X-Tenant}/{host}/%c3/");
        let plain: RewriteTemplate = "/users".parse().unwrap();
        assert_eq!(plain.placeholders().count(), 0);
    }

    #[test]
    fn placeholder_is_a_whole_segment() {
        for text in [
            "/{",
            "/{id",
            "/id}",
            "/{}",
            "/{1}",
            "/{a-b}",
            "/{a b}",
            "/x{id}",
            "/{id}x",
            "/{a}{b}",
            "{id}",
            "/{a}/../b",
            "/{{a}}",
            "/{a}?b",
            "/{query.}",
            "/{query.a/b}",
            "/{identity.a;b}",
            "/{header.Host}",
            &"/{a}/b".repeat(33),
        ] {
            assert!(text.parse::<RewriteTemplate>().is_err(), "{text}");
        }
    }
}
