//! The segments of paths, and the values of a template's parameters in them.

use crate::config::values::path::PathTemplate;
use crate::config::values::template::Piece;

/// Returns the segments of a path: the parts between its slashes, after the first slash.
pub(super) fn path_segments(path: &str) -> impl Iterator<Item = &str> + Clone {
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
    template: Option<&'r PathTemplate>,
    path: &'p str,
}

impl<'r, 'p> Parameters<'r, 'p> {
    /// Returns the values in a path that `template` matches.
    pub(crate) fn new(template: Option<&'r PathTemplate>, path: &'p str) -> Self {
        Self { template, path }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { template: None, path: "" }
    }

    /// Returns the names and values, in the order of the template.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'r str, &'p str)> + use<'r, 'p> {
        let pieces = self.template.map_or(&[][..], PathTemplate::pieces);
        pieces.iter().zip(path_segments(self.path)).filter_map(|(piece, value)| match piece {
            Piece::Parameter(name) => Some((&**name, value)),
            Piece::Literal(_) => None,
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
    fn parameters_are_read_from_the_path_as_it_is() {
        let template: PathTemplate = "/users/{id}/orders/{order}".parse().unwrap();
        let parameters = Parameters::new(Some(&template), "/users/a%20b/orders/7");
        assert_eq!(parameters.iter().collect::<Vec<_>>(), [("id", "a%20b"), ("order", "7")]);
        assert_eq!(parameters.get("order"), Some("7"));
        assert_eq!(parameters.get("users"), None);
        assert_eq!(Parameters::none().iter().count(), 0);
    }
}
