//! Texts with parameters in braces: `/users/{id}`.

use super::text::Malformed;

/// A part of a text with parameters, which are names unless `P` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Piece<P = Box<str>> {
    /// Text that stands for itself.
    Literal(Box<str>),
    /// A parameter, without its braces.
    Parameter(P),
}

/// A pattern for a parameter.
pub(super) const PARAMETER: &str = "\\{[A-Za-z_][0-9A-Za-z_]*\\}";

/// Splits a text into its literals and its parameters. No literal is empty.
pub(super) fn pieces<P>(
    text: &str,
    parameter: impl Fn(&str) -> Result<P, Malformed>,
) -> Result<Vec<Piece<P>>, Malformed> {
    let unpaired =
        |message: String| Malformed::new(message).help("write `%7B` and `%7D` for braces themselves");
    let mut pieces = Vec::new();
    let push_literal = |pieces: &mut Vec<Piece<P>>, literal: &str| -> Result<(), Malformed> {
        if literal.contains('}') {
            return Err(unpaired(format!("`{text}` has a `}}` without its `{{`")));
        }
        pieces.extend((!literal.is_empty()).then(|| Piece::Literal(literal.into())));
        Ok(())
    };
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(unpaired(format!("`{text}` has a `{{` without its `}}`")));
        };
        push_literal(&mut pieces, literal)?;
        pieces.push(Piece::Parameter(parameter(name)?));
        rest = after;
    }
    push_literal(&mut pieces, rest)?;
    Ok(pieces)
}

/// Returns the name of a parameter of a path.
pub(super) fn parameter_name(name: &str) -> Result<Box<str>, Malformed> {
    if is_parameter_name(name) {
        return Ok(name.into());
    }
    Err(Malformed::new(format!("`{{{name}}}` is not a parameter"))
        .help("write a name of letters, digits and `_` in braces: `{id}`"))
}

pub(super) fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the parameters in order.
pub(super) fn parameters<P>(pieces: &[Piece<P>]) -> impl Iterator<Item = &P> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Literal(_) => None,
        Piece::Parameter(parameter) => Some(parameter),
    })
}

/// Returns a template, or a part of one, with `value` in place of each parameter.
pub(crate) fn with_parameters(template: &str, value: &str) -> String {
    let mut pieces = template.split('{');
    let mut path = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let literal = piece.split_once('}').map_or(piece, |(_, literal)| literal);
        path.extend([value, literal]);
    }
    path
}
