//! Tests of precedence by example, and of the index against trying every route.

use proptest::prelude::*;

use super::*;
use crate::config::HostPattern;

/// Returns a match of a path: `any`, or a key with its path, as in `prefix /a`.
pub(super) fn matched(path: &str) -> Match {
    match path.split_once(' ') {
        Some(("path", path)) => Match { path: Some(path.parse().unwrap()), ..Match::default() },
        Some(("prefix", path)) => Match { prefix: Some(path.parse().unwrap()), ..Match::default() },
        Some(("template", path)) => Match { template: Some(path.parse().unwrap()), ..Match::default() },
        _ => Match::default(),
    }
}

fn route(host: Option<&str>, path: &str) -> Match {
    Match { host: host.map(|host| host.parse().unwrap()), ..matched(path) }
}

/// Returns a router whose values are the positions of the routes.
fn router(routes: &[Match]) -> Router<usize> {
    let routes = routes.iter().map(|matches| RouteMatch { listeners: Vec::new(), matches });
    Router::build(routes.zip(0..).collect())
}

fn request<'a>(host: &'a str, path: &'a str, headers: &'a Fields) -> RequestLine<'a> {
    RequestLine { listener: 0, host, path, query: None, method: &Method::GET, headers }
}

fn find(routes: &[Match], host: &str, path: &str) -> Option<usize> {
    router(routes).find(&request(host, path, &Fields::new())).map(|found| *found.value)
}

#[test]
fn a_more_specific_host_wins_over_any_path() {
    let routes = [
        route(None, "path /a"),
        route(Some("*.com"), "path /a"),
        route(Some("*.example.com"), "path /a"),
        route(Some("api.example.com"), "prefix /"),
    ];
    let cases = [
        ("api.example.com", Some(3)),
        ("API.Example.com.", Some(3)),
        ("v2.api.example.com", Some(2)),
        ("x.example.com", Some(2)),
        ("example.com", Some(1)),
        ("com", Some(0)),
        (".com", Some(0)),
        ("", Some(0)),
        ("example.org", Some(0)),
    ];
    for (host, expected) in cases {
        assert_eq!(find(&routes, host, "/a"), expected, "{host}");
    }
}

#[test]
fn a_host_whose_paths_do_not_match_gives_way_to_the_next() {
    let routes = [
        route(None, "prefix /"),
        route(Some("*.example.com"), "prefix /wild"),
        route(Some("api.example.com"), "prefix /exact"),
    ];
    assert_eq!(find(&routes, "api.example.com", "/exact"), Some(2));
    assert_eq!(find(&routes, "api.example.com", "/wild"), Some(1));
    assert_eq!(find(&routes, "api.example.com", "/other"), Some(0));
}

#[test]
fn an_ipv6_address_is_a_host() {
    let routes = [route(Some("[::1]"), "prefix /")];
    assert_eq!(find(&routes, "[::1]", "/"), Some(0));
    assert_eq!(find(&routes, "[::2]", "/"), None);
}

#[test]
fn equals_are_tried_in_the_order_of_the_file() {
    let routes = [route(None, "prefix /b"), route(None, "prefix /a"), route(None, "prefix /a")];
    assert_eq!(find(&routes, "", "/a"), Some(1));
}

#[test]
fn a_template_answers_with_its_parameters() {
    let of_one = router(&[route(None, "template /users/{id}/orders/{order}")]);
    let headers = Fields::new();
    let path = "/users/7/orders/%C3%A9";
    let found = of_one.find(&request("", path, &headers)).unwrap();
    assert_eq!(
        Parameters::new(found.template, path).iter().collect::<Vec<_>>(),
        [("id", "7"), ("order", "%C3%A9")]
    );
    let of_one = router(&[route(None, "prefix /users")]);
    let found = of_one.find(&request("", "/users/7", &headers)).unwrap();
    assert!(found.template.is_none());
}

#[test]
fn more_conditions_win_and_conditions_that_fail_fall_through() {
    let fallback = route(None, "prefix /");
    let plain = route(None, "path /a");
    let post = Match { methods: Some(vec!["POST".parse().unwrap()]), ..plain.clone() };
    let canary =
        Match { headers: [("x-canary".parse().unwrap(), "1".parse().unwrap())].into(), ..post.clone() };
    let second = Match { query: [("v".to_owned(), "2".parse().unwrap())].into(), ..canary.clone() };
    let on = |listeners: &[usize], matches| RouteMatch { listeners: listeners.to_vec(), matches };
    let mut routes = [&fallback, &plain, &post, &canary, &second].map(|matches| on(&[], matches)).to_vec();
    routes.push(on(&[1, 2], &second));
    let router = Router::build(routes.into_iter().zip(0..).collect());

    let headers = Fields::written(&[("x-canary", "1")]);
    let none = Fields::new();
    let all = RequestLine {
        listener: 2,
        host: "",
        path: "/a",
        query: Some("v=2"),
        method: &Method::POST,
        headers: &headers,
    };
    let found = |request: RequestLine<'_>| router.find(&request).map(|found| *found.value);
    assert_eq!(found(all), Some(5));
    assert_eq!(found(RequestLine { listener: 0, ..all }), Some(4));
    assert_eq!(found(RequestLine { query: None, ..all }), Some(3));
    assert_eq!(found(RequestLine { headers: &none, ..all }), Some(2));
    assert_eq!(found(RequestLine { method: &Method::GET, ..all }), Some(1));
    assert_eq!(found(RequestLine { path: "/a/", ..all }), Some(0));
}

/// Returns true if a route's host and path match, computed as plainly as the documentation says it.
fn matches_plainly(written: &Match, host: &str, path: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host_matches = match &written.host {
        None => true,
        Some(HostPattern::Below(domain)) => host.ends_with(&format!(".{domain}")),
        Some(HostPattern::Exact(name)) => host == *name,
    };
    let path_matches = match written.path_match() {
        PathMatch::Any => true,
        PathMatch::Exact(exact) => path == exact.as_str(),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.as_str();
            path == prefix
                || path.starts_with(&format!("{prefix}/"))
                || (prefix.ends_with('/') && path.starts_with(prefix))
        }
        PathMatch::Template(template) => {
            let (template, path) = (template.as_str().split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(segment, value)| {
                    segment == value || (segment.starts_with('{') && !value.is_empty())
                })
        }
    };
    host_matches && path_matches
}

fn any_path(segment: &'static str) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("(/{segment}){{1,4}}")).unwrap()
}

fn any_pattern() -> impl Strategy<Value = Match> {
    prop_oneof![
        Just(matched("any")),
        any_path("[ab]?").prop_map(|path| matched(&format!("path {path}"))),
        any_path("[ab]?").prop_map(|path| matched(&format!("prefix {path}"))),
        any_path("[ab01]").prop_map(|path| {
            // Every digit becomes a parameter. The last segment is one, so that there is at least one.
            let segments = path.split('/').skip(1).enumerate();
            let names = segments.map(|(at, segment)| match segment {
                "0" | "1" => format!("/{{p{at}}}"),
                _ => format!("/{segment}"),
            });
            matched(&format!("template {}/{{last}}", names.collect::<String>()))
        }),
    ]
}

fn any_host() -> impl Strategy<Value = Option<HostPattern>> {
    let host = prop_oneof!["([ab]\\.){0,2}[ab]", "\\*(\\.[ab]){1,3}"];
    proptest::option::of(host.prop_map(|host| host.parse().unwrap()))
}

fn any_route() -> impl Strategy<Value = Match> {
    let methods = prop_oneof![Just(None), Just(Some("GET")), Just(Some("POST"))];
    (any_host(), any_pattern(), methods).prop_map(|(host, path, method)| Match {
        host,
        methods: method.map(|method| vec![method.parse().unwrap()]),
        ..path
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_answers_what_trying_every_route_by_specificity_answers(
        routes in proptest::collection::vec(any_route(), 1..24),
        requests in proptest::collection::vec(("([abAB]\\.){0,3}[abAB]", any_path("[ab]?")), 1..12),
    ) {
        let mut sorted: Vec<_> = routes.iter().enumerate().collect();
        sorted.sort_by_key(|(_, written)| Reverse(Specificity {
            host: HostSpecificity::of(written.host.as_ref()),
            path: PathSpecificity::of(written.path_match()),
            conditions: written.methods.iter().count(),
        }));
        let router = router(&routes);
        let headers = Fields::new();
        for (host, path) in &requests {
            let expected = sorted.iter().find(|(_, written)| {
                let is_get = |method: &crate::config::Method| method.as_http() == Method::GET;
                matches_plainly(written, host, path)
                    && written.methods.as_ref().is_none_or(|methods| methods.iter().any(is_get))
            });
            let found = router.find(&request(host, path, &headers)).map(|found| *found.value);
            prop_assert_eq!(found, expected.map(|(position, _)| *position), "{} {}", host, path);
        }
    }
}
