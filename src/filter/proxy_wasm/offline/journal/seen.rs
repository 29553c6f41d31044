//! Snapshots of an exchange's messages as a filter sees them, and the differences between two snapshots.

use bytes::Bytes;

use crate::filter::proxy_wasm::abi::MapKind;
use crate::filter::proxy_wasm::host_functions::pairs_in;
use crate::filter::{Direction, FilterContext, FilteredExchange};

/// The most bytes of a body that an excerpt shows.
const EXCERPT_BYTES_MAX: usize = 72;

/// The bytes before the first difference that an excerpt shows.
const EXCERPT_BYTES_BEFORE: usize = 16;

/// A field, pseudo-headers included.
pub(crate) type Field = (String, Bytes);

/// A list of fields in an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Head(Direction),
    Trailers(Direction),
}

const SECTIONS: [Section; 4] = [
    Section::Head(Direction::Request),
    Section::Trailers(Direction::Request),
    Section::Head(Direction::Response),
    Section::Trailers(Direction::Response),
];

/// Both messages at one moment.
#[derive(Debug)]
pub(crate) struct Seen {
    sections: [Vec<Field>; 4],
    request_body: Bytes,
    response_body: Bytes,
}

/// A difference between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The values of a field; empty if it is absent.
    Field {
        section: Section,
        name: String,
        before: Vec<Bytes>,
        after: Vec<Bytes>,
    },
    Body {
        direction: Direction,
        before: Excerpt,
        after: Excerpt,
    },
}

/// A part of a body, and the length of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) length: usize,
    pub(crate) start: usize,
    pub(crate) part: Bytes,
}

impl Excerpt {
    /// Returns the part of a body that begins shortly before an offset.
    fn near(body: &Bytes, place: usize) -> Self {
        let start = if place < EXCERPT_BYTES_MAX / 2 { 0 } else { place - EXCERPT_BYTES_BEFORE };
        let start = start.min(body.len());
        let part = body.slice(start..body.len().min(start + EXCERPT_BYTES_MAX));
        Self { length: body.len(), start, part: Bytes::copy_from_slice(&part) }
    }

    /// Returns the beginning of a body.
    pub(crate) fn beginning(body: &Bytes) -> Self {
        Self::near(body, 0)
    }
}

impl Seen {
    pub(in crate::filter::proxy_wasm) fn of(context: &FilterContext) -> Self {
        let body = |direction| context.with_buffer(direction, Bytes::copy_from_slice);
        Self {
            sections: SECTIONS.map(|section| fields_in(&context.exchange, section)),
            request_body: body(Direction::Request),
            response_body: body(Direction::Response),
        }
    }

    /// Returns the fields of a section.
    pub(super) fn fields(&self, wanted: Section) -> &[Field] {
        let sections = SECTIONS.iter().zip(&self.sections);
        sections.into_iter().find(|(section, _)| **section == wanted).map_or(&[], |(_, fields)| fields)
    }

    pub(super) fn body(&self, direction: Direction) -> &Bytes {
        match direction {
            Direction::Request => &self.request_body,
            Direction::Response => &self.response_body,
        }
    }

    /// Returns the differences to a later moment.
    pub(super) fn changes_until(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for section in SECTIONS {
            changes.extend(changed_fields(section, self.fields(section), later.fields(section)));
        }
        for direction in [Direction::Request, Direction::Response] {
            let (before, after) = (self.body(direction), later.body(direction));
            if before != after {
                let place = before.iter().zip(after).take_while(|(before, after)| before == after).count();
                let [before, after] = [before, after].map(|body| Excerpt::near(body, place));
                changes.push(Change::Body { direction, before, after });
            }
        }
        changes
    }
}

fn fields_in(exchange: &FilteredExchange, section: Section) -> Vec<Field> {
    pairs_in(
        exchange,
        match section {
            Section::Head(direction) => MapKind::Head(direction),
            Section::Trailers(direction) => MapKind::Trailers(direction),
        },
    )
}

fn changed_fields(section: Section, before: &[Field], after: &[Field]) -> Vec<Change> {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in before.iter().chain(after) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let values = |fields: &[Field], wanted: &String| -> Vec<Bytes> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone()).collect()
    };
    let changes = names.into_iter().map(|name| Change::Field {
        section,
        name: name.clone(),
        before: values(before, name),
        after: values(after, name),
    });
    changes
        .filter(|change| !matches!(change, Change::Field { before, after, .. } if before == after))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(response: &[(&str, &'static str)], body: &'static str) -> Seen {
        let fields = response.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from(*value))).collect();
        Seen {
            sections: [vec![], vec![], fields, vec![]],
            request_body: Bytes::new(),
            response_body: body.into(),
        }
    }

    #[test]
    fn changes_are_those_of_fields_by_name_and_of_bodies() {
        let before = seen(&[("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")], "hello");
        let after = seen(&[("b", "2"), ("c", "5"), ("d", "6")], "hello, you");
        let section = Section::Head(Direction::Response);
        let field = |name: &str, before: &[&'static str], after: &[&'static str]| {
            let [before, after] =
                [before, after].map(|values| values.iter().map(|value| (*value).into()).collect());
            Change::Field { section, name: name.to_owned(), before, after }
        };
        let body = |part: &'static str| Excerpt { length: part.len(), start: 0, part: part.into() };
        assert_eq!(
            before.changes_until(&after),
            [
                field("a", &["1"], &[]),
                field("b", &["2", "3"], &["2"]),
                field("c", &["4"], &["5"]),
                field("d", &[], &["6"]),
                Change::Body {
                    direction: Direction::Response,
                    before: body("hello"),
                    after: body("hello, you")
                },
            ]
        );
        assert_eq!(before.changes_until(&before), []);
    }

    #[test]
    fn excerpt_of_a_long_body_is_where_it_differs() {
        let body = Bytes::from("x".repeat(1000));
        let excerpt = Excerpt::near(&body, 500);
        assert_eq!((excerpt.length, excerpt.start, excerpt.part.len()), (1000, 484, EXCERPT_BYTES_MAX));
        assert_eq!(Excerpt::near(&body, 1000).part.len(), EXCERPT_BYTES_BEFORE);
        assert_eq!(Excerpt::near(&body, 10).start, 0);
    }
}
