//! Shadowed routes by example, and against the router.

use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;

use super::super::tests::matched;
use super::super::{RequestLine, Router};
use super::*;
use crate::config::{HeaderMatch, Match, QueryMatch};
use crate::http::fields::Fields;

const LISTENERS: usize = 2;

/// Parses a route: parts such as `prefix /a`, `host b`, `methods GET POST`, `header x=1`, `query y` and `on 0`, separated by
/// commas.
fn route(text: &str) -> (Vec<usize>, Match) {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_path = |part: &&&str| ["path ", "prefix ", "template "].iter().any(|kind| part.starts_with(kind));
    let mut matches = matched(parts.iter().find(is_path).unwrap_or(&"any"));
    let mut listeners = Vec::new();
    for part in &parts {
        let Some((kind, value)) = part.split_once(' ') else { continue };
        let (name, wanted) = value.split_once('=').unwrap_or((value, "present"));
        match kind {
            "host" => matches.host = Some(value.parse().unwrap()),
            "methods" => matches.methods = Some(value.split(' ').map(|one| one.parse().unwrap()).collect()),
            "header" => drop(matches.headers.insert(name.parse().unwrap(), wanted.parse().unwrap())),
            "query" => drop(matches.query.insert(name.to_owned(), wanted.parse().unwrap())),
            "on" => listeners = value.split(' ').map(|one| one.parse().unwrap()).collect(),
            _ => {}
        }
    }
    (listeners, matches)
}

fn found(routes: &[(Vec<usize>, Match)]) -> Vec<Shadowed> {
    shadowed(&matches_of(routes), LISTENERS)
}

fn matches_of(routes: &[(Vec<usize>, Match)]) -> Vec<RouteMatch<'_>> {
    let matches = routes.iter();
    matches.map(|(listeners, matches)| RouteMatch { listeners: listeners.clone(), matches }).collect()
}

#[test]
fn shadowed_route_is_found_with_the_routes_that_take_its_requests() {
    for (routes, expected) in [
        ("any; any", &[(1, &[0][..])][..]),
        ("prefix /a; prefix /a; prefix /a", &[(1, &[0]), (2, &[0])]),
        ("prefix /a; prefix /b", &[]),
        ("prefix /; any", &[(1, &[0])]),
        ("any; prefix /", &[(0, &[1])]),
        ("prefix /, host a; any", &[]),
        ("prefix /, host a; any, host a", &[(1, &[0])]),
        ("path /%61; path /a", &[(1, &[0])]),
        ("template /{x}/b; template /{y}/b", &[(1, &[0])]),
        ("template /{x}/b; template /{y}/{z}", &[]),
        // The prefix is the path itself and all below it.
        ("prefix /a; path /a; prefix /a/", &[(0, &[1, 2])]),
        ("prefix /a; template /{x}; prefix /a/", &[(0, &[1, 2])]),
        ("prefix /a; path /a", &[]),
        ("prefix /a; prefix /a/", &[]),
        ("prefix /a; path /a; prefix /a/b", &[]),
        ("prefix /a/; path /a/; prefix /a//", &[]),
        // The other conditions.
        ("methods GET POST; methods POST", &[(1, &[0])]),
        ("methods GET; methods POST GET", &[]),
        ("methods GET; methods POST; methods POST GET", &[(2, &[0, 1])]),
        ("methods GET; any", &[]),
        ("any; methods GET", &[]),
        ("on 0; any", &[]),
        ("on 0; on 1; any", &[(2, &[0, 1])]),
        ("on 0 1; any", &[(1, &[0])]),
        ("on 0, methods GET; on 1, methods GET; methods GET", &[(2, &[0, 1])]),
        ("on 0, methods GET; on 1; methods GET", &[(2, &[0, 1])]),
        ("header x=1; header x=1", &[(1, &[0])]),
        ("header x; header x=1", &[(1, &[0])]),
        ("header x=1; header x", &[]),
        ("header x=1; header x=2", &[]),
        ("header X; header x, header y", &[]),
        ("query x; query x=1", &[(1, &[0])]),
        ("query x=1; query x", &[]),
        ("query x; header x", &[]),
    ] {
        let routes: Vec<_> = routes.split(';').map(route).collect();
        let expected: Vec<_> =
            expected.iter().map(|(route, by)| Shadowed { route: *route, by: by.to_vec() }).collect();
        assert_eq!(found(&routes), expected, "{routes:#?}");
    }
}

#[test]
fn many_routes_with_the_same_path_are_compared_within_a_bound() {
    let of = |number: usize| route(&format!("prefix /a, header x={number}"));
    let mut routes: Vec<_> = (0..5000).map(of).collect();
    routes.push(of(3));
    routes.push(of(4000));
    assert_eq!(found(&routes), [Shadowed { route: 5000, by: vec![3] }]);
}

fn any_route() -> impl Strategy<Value = String> {
    // Few forms, so that routes often meet.
    let path = prop_oneof![
        1 => Just("any".to_owned()),
        6 => "(path|prefix) /a(/|/b)?",
        1 => "prefix /",
        1 => "template (/a)?/\\{y\\}",
        1 => "template /\\{x\\}/b",
    ];
    let host = prop_oneof![6 => Just(""), 1 => Just("host a"), 1 => Just("host *.a")];
    let methods = prop_oneof![4 => Just(""), 1 => Just("methods GET"), 1 => Just("methods GET POST")];
    let fields = prop_oneof![
        6 => Just(""),
        1 => Just("header x=1"),
        1 => Just("header x"),
        1 => Just("header x=1, header y"),
        1 => Just("query x=1")
    ];
    let listeners = prop_oneof![4 => Just(""), 1 => Just("on 0"), 1 => Just("on 1"), 1 => Just("on 0 1")];
    (path, host, methods, fields, listeners).prop_map(|(path, host, methods, fields, listeners)| {
        [&path, host, methods, fields, listeners].join(",")
    })
}

/// The requests that only a route can lose to others that leave nothing to it: what no route mentions stands for all the
/// rest.
fn samples(
    listeners: &[usize],
    matches: &Match,
) -> Vec<(usize, String, String, Option<String>, Method, Fields)> {
    let host = match &matches.host {
        None => "fresh".to_owned(),
        Some(HostPattern::Exact(host)) => host.clone(),
        Some(HostPattern::Below(domain)) => format!("fresh.{domain}"),
    };
    let paths = match matches.path_match() {
        PathMatch::Any => vec!["/fresh/fresh/fresh".to_owned()],
        PathMatch::Exact(path) => vec![path.normal().to_owned()],
        PathMatch::Prefix(path) => {
            vec![
                path.normal().to_owned(),
                format!("{}/fresh/fresh/fresh", path.normal().trim_end_matches('/')),
            ]
        }
        PathMatch::Template(template) => {
            let segment = |piece: &Piece| match piece {
                Piece::Literal(text) => format!("/{text}"),
                Piece::Parameter(_) => "/fresh".to_owned(),
            };
            vec![template.pieces().iter().map(segment).collect()]
        }
    };
    let fields = matches.headers.iter().map(|(name, value)| match value {
        HeaderMatch::Present => (name.to_string(), "fresh".to_owned()),
        HeaderMatch::Exact(value) => (name.to_string(), value.to_string()),
    });
    let fields = fields_of(fields);
    let query = matches.query.iter().map(|(name, value)| match value {
        QueryMatch::Present => format!("{name}=fresh"),
        QueryMatch::Exact(value) => format!("{name}={value}"),
    });
    let query = query.collect::<Vec<_>>().join("&");
    let methods = matches.methods.iter().flatten().map(|method| method.as_http().clone());
    let methods: Vec<Method> = methods.collect();
    let methods = if methods.is_empty() { vec!["FRESH".parse().unwrap()] } else { methods };
    let listeners = if listeners.is_empty() { (0..LISTENERS).collect() } else { listeners.to_vec() };
    let mut samples = Vec::new();
    for listener in listeners {
        for path in &paths {
            for method in &methods {
                let query = (!query.is_empty()).then(|| query.clone());
                samples.push((listener, host.clone(), path.clone(), query, method.clone(), fields.clone()));
            }
        }
    }
    samples
}

fn fields_of(lines: impl IntoIterator<Item = (String, String)>) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(name.parse().unwrap(), value.parse().unwrap());
    }
    fields
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn route_is_shadowed_exactly_if_the_router_finds_it_for_no_request(
        routes in proptest::collection::vec(any_route(), 1..14),
        more in proptest::collection::vec(
            (0..LISTENERS, "(a|b|b\\.a|c)", "(/[abc]?){1,3}", proptest::option::of("x=[12]"), "(GET|POST|PUT)", "[xy]", "[12]"), 20
        ),
    ) {
        let routes: Vec<_> = routes.iter().map(|text| route(text)).collect();
        let of_router: Vec<_> = matches_of(&routes).into_iter().zip(0_usize..).collect();
        let router = Router::build(of_router);
        let reached = |line: &RequestLine<'_>| router.find(line).map(|found| *found.value);
        let mut known = BTreeSet::new();
        for (position, (listeners, matches)) in routes.iter().enumerate() {
            let is_reached = samples(listeners, matches).iter().any(|(listener, host, path, query, method, headers)| {
                let query = query.as_deref();
                let line = RequestLine { listener: *listener, host, path, query, method, headers };
                reached(&line) == Some(position)
            });
            if !is_reached {
                known.insert(position);
            }
        }
        let found: BTreeSet<usize> = found(&routes).iter().map(|shadowed| shadowed.route).collect();
        prop_assert_eq!(&found, &known, "{:#?}", routes);
        for (listener, host, path, query, method, name, value) in &more {
            let (method, headers) = (&method.parse().unwrap(), &fields_of([(name.clone(), value.clone())]));
            let line = RequestLine { listener: *listener, host, path, query: query.as_deref(), method, headers };
            if let Some(position) = reached(&line) {
                prop_assert!(!found.contains(&position), "{:?} reaches {}: {:#?}", line, position, routes);
            }
        }
    }
}
