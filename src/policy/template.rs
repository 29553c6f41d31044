//! Texts with parameters of the route's path: `/v2/users/{id}`.

use crate::router::{Parameters, is_parameter_name};

/// An error in the braces of a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The route's path has no such parameter.
    #[error("the route's match has no parameter `{{{0}}}`: it has to be in its `template:`")]
    UnknownParameter(String),
    /// A brace does not enclose a name.
    #[error(
        "`{0}` has a brace that does not enclose a parameter's name: write %7B and %7D for the characters themselves"
    )]
    Brace(String),
}

/// The initial capacity of an expanded text. It is enough for nearly all, so that they are allocated once.
const EXPANDED_BYTES: usize = 128;

/// A text with parameters in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Parameter(Box<str>),
}

impl Template {
    /// Parses a text. `known` are the parameters of the route's path.
    pub(super) fn parse(written: &str, known: &[String]) -> Result<Self, TemplateError> {
        let brace = || TemplateError::Brace(written.to_owned());
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').filter(|(name, _)| is_parameter_name(name)).ok_or_else(brace)?;
            if !known.iter().any(|known| known == name) {
                return Err(TemplateError::UnknownParameter(name.to_owned()));
            }
            parts.extend([Part::Text(text.into()), Part::Parameter(name.into())]);
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        if parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}'))) {
            return Err(brace());
        }
        Ok(Self { parts })
    }

    /// Returns the text with the parameters as the path has them. A missing parameter leaves nothing in its place;
    /// [`Template::parse`] rules that out for the route's own.
    pub(super) fn expand(&self, parameters: &Parameters<'_, '_>) -> String {
        self.expand_with(|name| parameters.get(name).unwrap_or_default())
    }

    /// Returns the text with the `value` of each parameter's name.
    pub(super) fn expand_with<'v>(&self, value: impl Fn(&str) -> &'v str) -> String {
        let mut expanded = String::with_capacity(EXPANDED_BYTES);
        for part in &self.parts {
            expanded.push_str(match part {
                Part::Text(text) => text,
                Part::Parameter(name) => value(name),
            });
        }
        expanded
    }

    /// Returns the whole text if it has no parameters.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_parameters_stand_in_braces() {
        let parse = |written: &str| Template::parse(written, &["id".to_owned()]);
        let text = |written: &str| parse(written).unwrap().expand_with(|_| "7");
        assert_eq!(text("/a/{id}/b{id}{id}"), "/a/7/b77");
        assert_eq!(text(""), "");
        assert_eq!(parse("/{user}"), Err(TemplateError::UnknownParameter("user".into())));
        for written in ["/{id", "/id}", "/{}", "/{{id}}", "/{i d}", "/}{id}"] {
            assert_eq!(parse(written), Err(TemplateError::Brace(written.into())), "{written}");
        }
    }
}
