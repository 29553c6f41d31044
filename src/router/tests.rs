//! Tests of precedence by example, and of the index against trying every route.

use proptest::prelude::*;

use super::*;

fn exact(path: &str) -> PathPattern {
    PathPattern::Exact(path.into())
}

fn prefix(path: &str) -> PathPattern {
    PathPattern::Prefix(path.into())
}

fn template(path: &str) -> PathPattern {
    PathPattern::Template(path.into())
}

fn route(host: Option<&str>, path: PathPattern) -> RouteMatch {
    RouteMatch { host: host.map(|host| host.parse().unwrap()), path, ..RouteMatch::default() }
}

fn request<'a>(host: &'a str, path: &'a str, headers: &'a Fields) -> RequestLine<'a> {
    RequestLine { listener: 0, host, path, query: None, method: &Method::GET, headers }
}

fn find(routes: &[RouteMatch], host: &str, path: &str) -> Option<usize> {
    let routes = routes.iter().cloned().enumerate().map(|(position, written)| (written, position)).collect();
    let router = Router::build(routes).unwrap();
    router.find(&request(host, path, &Fields::new())).map(|found| *found.value)
}

#[test]
fn a_more_specific_host_wins_over_any_path() {
    let routes = [
        route(None, exact("/a")),
        route(Some("*.com"), exact("/a")),
        route(Some("*.example.com"), exact("/a")),
        route(Some("api.example.com"), prefix("/")),
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
        route(None, prefix("/")),
        route(Some("*.example.com"), prefix("/wild")),
        route(Some("api.example.com"), prefix("/exact")),
    ];
    assert_eq!(find(&routes, "api.example.com", "/exact"), Some(2));
    assert_eq!(find(&routes, "api.example.com", "/wild"), Some(1));
    assert_eq!(find(&routes, "api.example.com", "/other"), Some(0));
}

#[test]
fn an_ipv6_address_is_a_host() {
    let routes = [route(Some("[::1]"), prefix("/"))];
    assert_eq!(find(&routes, "[::1]", "/"), Some(0));
    assert_eq!(find(&routes, "[::2]", "/"), None);
}

#[test]
fn equals_are_tried_in_the_order_of_the_file() {
    let routes = [route(None, prefix("/b")), route(None, prefix("/a")), route(None, prefix("/a"))];
    assert_eq!(find(&routes, "", "/a"), Some(1));
}

#[test]
fn a_template_answers_with_its_parameters() {
    let router = Router::build(vec![(route(None, template("/users/{id}/orders/{order}")), ())]).unwrap();
    let headers = Fields::new();
    let path = "/users/7/orders/%C3%A9";
    let found = router.find(&request("", path, &headers)).unwrap();
    let parameters = Parameters::new(found.template, path);
    assert_eq!(parameters.iter().collect::<Vec<_>>(), [("id", "7"), ("order", "%C3%A9")]);
    let router = Router::build(vec![(route(None, prefix("/users")), ())]).unwrap();
    let found = router.find(&request("", "/users/7", &headers)).unwrap();
    assert!(found.template.is_none());
}

#[test]
fn more_conditions_win_and_conditions_that_fail_fall_through() {
    let value = |text: &str| Expected::Value(text.to_owned());
    let plain = route(None, exact("/a"));
    let post = RouteMatch { methods: vec!["POST".into()], ..plain.clone() };
    let canary = RouteMatch { headers: vec![("x-canary".into(), value("1"))], ..post.clone() };
    let second = RouteMatch { query: vec![("v".into(), value("2"))], ..canary.clone() };
    let listener = RouteMatch { listeners: vec![1, 2], ..second.clone() };
    let fallback = route(None, prefix("/"));
    let routes = [fallback, plain, post, canary, second, listener];
    let router = Router::build(routes.into_iter().zip(0..).collect()).unwrap();

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

#[test]
fn every_error_of_every_match_is_reported() {
    let wrong = RouteMatch {
        listeners: Vec::new(),
        host: None,
        path: template("/{a}/{a}"),
        encoded_slash: EncodedSlash::Reject,
        methods: vec!["get".into(), "post".into()],
        headers: vec![("a b".into(), Expected::Present)],
        query: vec![(String::new(), Expected::Present)],
    };
    let errors = Router::build(vec![
        (RouteMatch::default(), ()),
        (wrong, ()),
        (route(None, prefix("/../a")), ()),
        (route(None, exact("a")), ()),
    ]);
    let errors: Vec<_> = errors.unwrap_err().into_iter().map(|error| (error.route, error.key)).collect();
    let expected = [
        (1, "template"),
        (1, "methods"),
        (1, "methods"),
        (1, "headers"),
        (1, "query"),
        (2, "prefix"),
        (3, "path"),
    ];
    assert_eq!(errors, expected);
}

/// Returns true if a route's host and path match, computed as plainly as the documentation says it.
fn matches_plainly(written: &RouteMatch, host: &str, path: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host_matches = match &written.host {
        None => true,
        Some(HostPattern::Below(domain)) => host.ends_with(&format!(".{domain}")) && !host.starts_with('.'),
        Some(HostPattern::Exact(name)) => host == *name,
    };
    let path_matches = match &written.path {
        PathPattern::Any => true,
        PathPattern::Exact(exact) => path == exact,
        PathPattern::Prefix(prefix) => {
            path == prefix
                || path.starts_with(&format!("{prefix}/"))
                || (prefix.ends_with('/') && path.starts_with(prefix))
        }
        PathPattern::Template(template) => {
            let (template, path) = (template.split('/'), path.split('/'));
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

fn any_pattern() -> impl Strategy<Value = PathPattern> {
    prop_oneof![
        Just(PathPattern::Any),
        any_path("[ab]?").prop_map(PathPattern::Exact),
        any_path("[ab]?").prop_map(PathPattern::Prefix),
        any_path("[ab01]").prop_map(|path| {
            // Every digit becomes a parameter. The first segment always becomes one, so that there is at least one.
            let segments = path.split('/').skip(1).enumerate();
            let names = segments.map(|(at, segment)| match segment {
                "0" | "1" => format!("/{{p{at}}}"),
                _ => format!("/{segment}"),
            });
            PathPattern::Template(format!("{}/{{last}}", names.collect::<String>()))
        }),
    ]
}

fn any_host() -> impl Strategy<Value = Option<HostPattern>> {
    let host = prop_oneof!["([ab]\\.){0,2}[ab]", "\\*(\\.[ab]){1,3}"];
    proptest::option::of(host.prop_map(|host| host.parse().unwrap()))
}

fn any_route() -> impl Strategy<Value = RouteMatch> {
    let methods = prop_oneof![Just(vec![]), Just(vec!["GET".to_owned()]), Just(vec!["POST".to_owned()])];
    (any_host(), any_pattern(), methods).prop_map(|(host, path, methods)| RouteMatch {
        host,
        path,
        methods,
        ..RouteMatch::default()
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
        sorted.sort_by_key(|(_, written)| Reverse(parse(written).unwrap().specificity()));
        let router = Router::build(routes.iter().cloned().zip(0..).collect()).unwrap();
        let headers = Fields::new();
        for (host, path) in &requests {
            let expected = sorted.iter().find(|(_, written)| {
                matches_plainly(written, host, path) && !written.methods.contains(&"POST".to_owned())
            });
            let found = router.find(&request(host, path, &headers)).map(|found| *found.value);
            prop_assert_eq!(found, expected.map(|(position, _)| *position), "{} {}", host, path);
        }
    }
}
