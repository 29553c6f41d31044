//! The index of the paths under one host: one tree of segments for exact paths and prefixes, another for templates.
//!
//! The cost of a lookup depends on the segments of the request's path and not on the number of routes. The
//! configuration alone limits the number of nodes that a lookup visits, so even a very deep path costs no more than its
//! length.

use std::collections::HashMap;

use super::Hashing;
use super::parameters::{path_segments, split_segment};
use crate::config::{PathMatch, PathTemplate, Piece};

/// A route's position in the order of precedence; 0 is the most specific.
pub(super) type Rank = usize;

type Children<N> = HashMap<Box<str>, N, Hashing>;

/// The routes under one host, by path.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    literals: LiteralTree,
    templates: TemplateNode,
    /// Routes for every path.
    any: Vec<Rank>,
}

impl PathIndex {
    /// Adds a route. Routes must come in the order of their ranks, which keeps every list below sorted.
    pub(super) fn insert(&mut self, path: PathMatch<'_>, rank: Rank) {
        match path {
            PathMatch::Any => self.any.push(rank),
            PathMatch::Exact(path) => self.literals.insert_exact(path.normal(), rank),
            PathMatch::Prefix(prefix) => self.literals.insert_prefix(prefix.normal(), rank),
            PathMatch::Template(template) => self.templates.insert(template, rank),
        }
    }

    /// Returns the most specific route that matches the path and that `accepts` accepts. If a route's other conditions
    /// do not hold, the next route is tried.
    pub(super) fn find(&self, path: &str, accepts: impl Fn(Rank) -> bool) -> Option<Rank> {
        let end = self.literals.walk(path);
        if let Some(rank) = end.exact(&accepts) {
            return Some(rank);
        }
        let mut best = None;
        self.templates.find(Some(path_after_slash(path)), &accepts, &mut best);
        best.or_else(|| self.literals.prefix(&end, &accepts)).or_else(|| first(&self.any, &accepts))
    }
}

fn first(ranks: &[Rank], accepts: &impl Fn(Rank) -> bool) -> Option<Rank> {
    ranks.iter().copied().find(|rank| accepts(*rank))
}

fn path_after_slash(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// Exact paths and prefixes. All nodes are in one list, the root first, and know their parents. A lookup meets the
/// prefixes of a path on the way back up, the longest first.
#[derive(Debug)]
struct LiteralTree {
    nodes: Vec<LiteralNode>,
}

#[derive(Debug, Default)]
struct LiteralNode {
    /// The positions of the child nodes.
    children: Children<usize>,
    parent: Option<usize>,
    exact: Vec<Rank>,
    /// Prefixes that end here without a slash.
    prefixes: Vec<Rank>,
    /// Prefixes that end here with a slash. Paths that they match have one more segment, which may be empty.
    prefixes_below: Vec<Rank>,
}

/// The end of a path's way down the tree.
struct Walk<'a> {
    node: Option<&'a LiteralNode>,
    /// True if segments are left that have no node.
    is_below: bool,
}

impl Default for LiteralTree {
    fn default() -> Self {
        Self { nodes: vec![LiteralNode::default()] }
    }
}

impl LiteralTree {
    fn insert_exact(&mut self, path: &str, rank: Rank) {
        if let Some(node) = self.node_mut(path_segments(path)) {
            node.exact.push(rank);
        }
    }

    fn insert_prefix(&mut self, prefix: &str, rank: Rank) {
        let without_slash = prefix.strip_suffix('/');
        let segments = path_segments(without_slash.unwrap_or(prefix));
        // `/` without its slash has no segments at all, but splitting would find an empty one.
        let count = if without_slash == Some("") { 0 } else { usize::MAX };
        if let Some(node) = self.node_mut(segments.take(count)) {
            let list = if without_slash.is_some() { &mut node.prefixes_below } else { &mut node.prefixes };
            list.push(rank);
        }
    }

    /// Returns the node for these segments, creating the missing ones.
    fn node_mut<'s>(&mut self, segments: impl Iterator<Item = &'s str>) -> Option<&mut LiteralNode> {
        let mut at = 0;
        for segment in segments {
            let next = self.nodes.len();
            let child = *self.nodes.get_mut(at)?.children.entry(segment.into()).or_insert(next);
            if child == next {
                self.nodes.push(LiteralNode { parent: Some(at), ..LiteralNode::default() });
            }
            at = child;
        }
        self.nodes.get_mut(at)
    }

    fn walk(&self, path: &str) -> Walk<'_> {
        let mut node = self.nodes.first();
        for segment in path_segments(path) {
            let child = node.and_then(|node| node.children.get(segment)).and_then(|at| self.nodes.get(*at));
            if child.is_none() {
                return Walk { node, is_below: true };
            }
            node = child;
        }
        Walk { node, is_below: false }
    }

    fn prefix(&self, end: &Walk<'_>, accepts: &impl Fn(Rank) -> bool) -> Option<Rank> {
        let mut is_below = end.is_below;
        let mut node = end.node;
        while let Some(LiteralNode { parent, prefixes, prefixes_below, .. }) = node {
            let below = if is_below { first(prefixes_below, accepts) } else { None };
            if let Some(rank) = below.or_else(|| first(prefixes, accepts)) {
                return Some(rank);
            }
            is_below = true;
            node = parent.and_then(|at| self.nodes.get(at));
        }
        None
    }
}

impl Walk<'_> {
    fn exact(&self, accepts: &impl Fn(Rank) -> bool) -> Option<Rank> {
        let node = self.node.filter(|_| !self.is_below)?;
        first(&node.exact, accepts)
    }
}

/// Templates. A path can match several that differ in the positions of their parameters. All of them are visited, and
/// the lowest rank wins.
#[derive(Debug, Default)]
struct TemplateNode {
    literals: Children<TemplateNode>,
    parameter: Option<Box<TemplateNode>>,
    /// Templates that end here.
    routes: Vec<Rank>,
}

impl TemplateNode {
    fn insert(&mut self, template: &PathTemplate, rank: Rank) {
        let mut node = self;
        for piece in template.pieces() {
            node = match piece {
                Piece::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Piece::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        node.routes.push(rank);
    }

    /// Lowers `best` to the lowest rank among the templates below that match `rest`, the segments still to be matched.
    /// The recursion is as deep as the deepest template.
    fn find(&self, rest: Option<&str>, accepts: &impl Fn(Rank) -> bool, best: &mut Option<Rank>) {
        let Some(rest) = rest else {
            let better = |rank: &Rank| best.is_none_or(|best| *rank < best);
            let found = self.routes.iter().copied().take_while(better).find(|rank| accepts(*rank));
            *best = found.or(*best);
            return;
        };
        if self.literals.is_empty() && self.parameter.is_none() {
            return;
        }
        let (segment, rest) = split_segment(rest);
        if let Some(child) = self.literals.get(segment) {
            child.find(rest, accepts, best);
        }
        if let Some(child) = self.parameter.as_deref().filter(|_| !segment.is_empty()) {
            child.find(rest, accepts, best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::matched;
    use super::*;

    fn index(patterns: &[&str]) -> PathIndex {
        let mut index = PathIndex::default();
        for (rank, pattern) in patterns.iter().enumerate() {
            index.insert(matched(pattern).path_match(), rank);
        }
        index
    }

    #[test]
    fn a_prefix_ends_at_a_segment_border() {
        let cases = [
            ("/api", "/api", true),
            ("/api", "/api/", true),
            ("/api", "/api/x", true),
            ("/api", "/apix", false),
            ("/api", "/ap", false),
            ("/api/", "/api", false),
            ("/api/", "/api/", true),
            ("/api/", "/api/x/y", true),
            ("/", "/", true),
            ("/", "/a", true),
            ("/", "//", true),
            ("//", "/", false),
            ("//", "//", true),
            ("//", "//a", true),
            ("/a//", "/a/", false),
            ("/a//", "/a//b", true),
        ];
        for (pattern, path, matches) in cases {
            let found = index(&[&format!("prefix {pattern}")]).find(path, |_| true);
            assert_eq!(found.is_some(), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_route_that_is_not_accepted_gives_way_to_the_next() {
        let index = index(&[
            "path /a/b",
            "template /a/{x}",
            "template /{y}/b",
            "prefix /a/",
            "prefix /a",
            "prefix /",
            "any",
        ]);
        for least in 0..7 {
            assert_eq!(index.find("/a/b", |rank| rank >= least), Some(least));
        }
        assert_eq!(index.find("/a/b", |_| false), None);
    }

    #[test]
    fn a_parameter_takes_no_empty_segment() {
        let index = index(&["template /a/{x}/c"]);
        assert_eq!(index.find("/a/b/c", |_| true), Some(0));
        for path in ["/a//c", "/a/b", "/a/b/", "/a/b/c/", "/a/b/c/d", "/a/b/x"] {
            assert_eq!(index.find(path, |_| true), None, "{path}");
        }
    }
}
