//! Texts with parameters in braces: `/users/{id}`.

use super::text::Malformed;

/// A part of a text with parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    /// Text that stands for itself.
    Literal(Box<str>),
    /// The name of a parameter, without its braces.
    Parameter(Box<str>),
}

/// A pattern for a parameter.
pub(super) const PARAMETER: &str = "\\{[A-Za-z_][0-9A-Za-z_]*\\}";

/// The initial capacity of an expanded text. It is enough for nearly all, so that they are allocated once.
const EXPANDED_BYTES: usize = 128;

/// Splits a text into its literals and its parameters. No literal is empty.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Malformed> {
    let unpaired =
        |message: String| Malformed::new(message).help("write `%7B` and `%7D` for braces themselves");
    let mut pieces = Vec::new();
    let push_literal = |pieces: &mut Vec<Piece>, literal: &str| -> Result<(), Malformed> {
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
        if !is_parameter_name(name) {
            return Err(Malformed::new(format!("`{{{name}}}` is not a parameter"))
                .help("write a name of letters, digits and `_` in braces: `{id}`"));
        }
        push_literal(&mut pieces, literal)?;
        pieces.push(Piece::Parameter(name.into()));
        rest = after;
    }
    push_literal(&mut pieces, rest)?;
    Ok(pieces)
}

fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the names of the parameters in order.
pub(super) fn parameters(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Literal(_) => None,
        Piece::Parameter(name) => Some(&**name),
    })
}

/// Returns the pieces as one text, with `before` before each and the `value` of each parameter's name.
pub(super) fn expand<'v>(pieces: &'v [Piece], before: &str, value: impl Fn(&'v str) -> &'v str) -> String {
    let mut expanded = String::with_capacity(EXPANDED_BYTES);
    for piece in pieces {
        expanded.push_str(before);
        expanded.push_str(match piece {
            Piece::Literal(text) => text,
            Piece::Parameter(name) => value(name),
        });
    }
    expanded
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
