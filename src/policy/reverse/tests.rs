use http::HeaderValue;
use proptest::prelude::*;

use super::super::placeholders::tests::Values;
use super::Reverse;
use crate::config::Scheme;
use crate::config::section;
use crate::http::forward::{ClientOrigin, parse_authority};
use crate::policy::Rewrite;

/// An exchange between `client` and `upstream`, both URLs without a path, with these prefixes.
fn reverse<'a>(
    client: &'a str,
    upstream: &'a str,
    base: &'a str,
    rewrite: Option<&'a Rewrite>,
) -> Reverse<'a> {
    let parts = |url: &'a str| {
        let (scheme, authority) = url.split_once("://").unwrap();
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        (scheme, parse_authority(authority).unwrap_or_default())
    };
    let ((client_scheme, host), (scheme, own)) = (parts(client), parts(upstream));
    let client = ClientOrigin { scheme: client_scheme, host };
    let authorities = [own, own];
    Reverse { client, scheme, authorities, keeps_host: false, requested: "/api/asked", base, rewrite }
}

fn prefix(strip: &str, add: &str) -> Rewrite {
    rewrite(&format!("{{ strip_prefix: '{strip}', add_prefix: '{add}' }}"))
}

fn rewrite(yaml: &str) -> Rewrite {
    let written: crate::config::Rewrite = section(yaml);
    Rewrite::new(written.form().unwrap())
}

fn location(reverse: &Reverse<'_>, written: &str) -> Option<String> {
    let changed = reverse.location(&HeaderValue::from_bytes(written.as_bytes()).unwrap())?;
    Some(String::from_utf8(changed.as_bytes().to_vec()).unwrap())
}

#[test]
fn a_location_of_the_upstream_itself_becomes_the_clients() {
    for (upstream, written, expected) in [
        ("http://app:3000", "http://app:3000/x?y#z", Some("https://a:8443/x?y#z")),
        ("http://app:3000", "HTTP://APP:3000/X", Some("https://a:8443/X")),
        ("http://app:3000", "http://app:3000", Some("https://a:8443/")),
        ("http://app:3000", "http://app:3000?x", Some("https://a:8443/?x")),
        ("http://app:3000", "http://app:3000#x", Some("https://a:8443/#x")),
        ("http://app:3000", "//app:3000/x", Some("https://a:8443/x")),
        ("http://app:3000", "http://app:3000//evil.example/", Some("https://a:8443//evil.example/")),
        ("http://app:3000", "http://app:3000/é", Some("https://a:8443/é")),
        // The scheme is the one that the upstream was sent, and the port is its own.
        ("http://app:3000", "https://app:3000/x", Some("https://a:8443/x")),
        ("http://app", "https://app/x", Some("https://a:8443/x")),
        ("http://app", "https://app:80/x", Some("https://a:8443/x")),
        ("http://app", "http://app:80/x", Some("https://a:8443/x")),
        ("http://app", "http://app./x", Some("https://a:8443/x")),
        ("http://app:80", "http://app/x", Some("https://a:8443/x")),
        ("https://app", "https://app:443/x", Some("https://a:8443/x")),
        ("http://[::1]:3000", "http://[0:0::1]:3000/x", Some("https://a:8443/x")),
        // Others stay: other ports, hosts and schemes, and everything ambiguous.
        ("http://app", "https://app:443/x", None),
        ("http://app:80", "https://app/x", None),
        ("http://app:3000", "https://app/x", None),
        ("http://app:3000", "http://app/x", None),
        ("http://app:3000", "http://app:30001/x", None),
        ("http://app:3000", "http://other:3000/x", None),
        ("http://app:3000", "http://app:3000.evil.example/", None),
        ("http://app:3000", "http://user@app:3000/x", None),
        ("http://app:3000", "http://app:3000@evil.example/", None),
        ("http://app:3000", "http://app:3000\\@evil.example/", None),
        ("http://app:3000", "http://app:3000/a b", None),
        ("http://app:3000", "\thttp://app:3000/a", None),
        ("http://app:3000", "ftp://app:3000/x", None),
        ("http://app:3000", "http:/x", None),
        ("http://app:3000", "http:x", None),
        ("http://app:3000", "http:///x", None),
        ("https://app", "http://app/x", None),
        ("http://app:3000", "//evil.example/x", None),
        ("http://app:3000", "///evil.example", None),
        ("http://app:3000", "", None),
        ("http://app:3000", "x", None),
        ("http://app:3000", "../x", None),
        ("http://app:3000", "?x", None),
        ("http://app:3000", "#x", None),
        ("http://app:3000", "/x", None),
        ("http://app:3000", "app:3000/x", None),
    ] {
        let reverse = reverse("https://a:8443", upstream, "", None);
        assert_eq!(location(&reverse, written).as_deref(), expected, "{upstream} {written}");
    }
}

/// Such an upstream redirects clients from HTTP to HTTPS. Rewritten to the client's scheme, its location would be the
/// URL that the client has just requested.
#[test]
fn a_location_of_the_upstream_with_another_scheme_than_the_clients_stays() {
    for (client, upstream, written) in [
        ("http://a", "http://app", "https://app/x"),
        ("http://a", "http://app:3000", "https://app:3000/x"),
        ("https://a", "https://app", "http://app/x"),
    ] {
        assert_eq!(location(&reverse(client, upstream, "", None), written), None, "{client} {written}");
    }
    let plain_client = reverse("http://a", "https://app", "", None);
    assert_eq!(location(&plain_client, "http://app/x").as_deref(), Some("http://a/x"));
}

#[test]
fn the_path_of_a_location_is_reversed_at_segment_borders() {
    for (base, strip, add, written, expected) in [
        ("/v2", "/", "/", "/v2/x?y", Some("/x?y")),
        ("/v2", "/", "/", "/v2", Some("/")),
        ("/v2", "/", "/", "/v2?x", Some("/?x")),
        ("/v2", "/", "/", "/v2/", Some("/")),
        ("/v2", "/", "/", "/v20/x", None),
        ("/v2", "/", "/", "/x", None),
        ("/v2", "/", "/", "/V2/x", None),
        ("/v2", "/", "/", "/v2/../x", None),
        ("/v2", "/", "/", "/v2/%2E./x", None),
        ("/v2", "/", "/", "/v2/..x/%2e%2ex", Some("/..x/%2e%2ex")),
        ("/v2", "/", "/", "http://app/v2/x", Some("https://a/x")),
        ("/v2", "/", "/", "http://app/v20/x", None),
        ("/v2", "/", "/", "http://app/", None),
        ("/v2", "/", "/", "http://app", None),
        // The client would take the upstream's path `//evil.example/x` for a host.
        ("/v2", "/", "/", "/v2//evil.example/x", Some("https://a//evil.example/x")),
        ("", "/api", "/v2", "/v2/x", Some("/api/x")),
        ("", "/api", "/v2", "/v2", Some("/api")),
        ("", "/api", "/v2", "/v2/", Some("/api/")),
        ("", "/api", "/v2", "/api/x", None),
        ("", "/api", "/v2", "/x", None),
        ("/base", "/api", "/v2", "/base/v2/x", Some("/api/x")),
        ("/base", "/api", "/v2", "/base/x", None),
        ("/base", "/api", "/v2", "/v2/x", None),
        ("", "/api", "/", "/x", Some("/api/x")),
        ("", "/api", "/", "/", Some("/api/")),
        ("", "/api", "/", "http://app/x", Some("https://a/api/x")),
        // An upstream that knows the prefix writes it itself.
        ("", "/api", "/", "/api/x", None),
        ("", "/api", "/", "/api", None),
        ("", "/api", "/", "/apix", Some("/api/apix")),
        ("", "/api", "/", "http://app/api/x", Some("https://a/api/api/x")),
        ("/base", "/api", "/", "/base/api/x", Some("/api/api/x")),
        ("", "/", "/v2", "/v2/x", Some("/x")),
        ("", "/", "/v2", "/v2//x", Some("https://a//x")),
        ("/~v2", "/", "/", "/%7ev2/%7ex", Some("/%7ex")),
        ("/%C3%A9", "/", "/", "/%c3%a9/x", Some("/x")),
        ("/%C3%A9", "/", "/", "http://app/é/x", Some("https://a/x")),
        ("", "/api", "/%C3%A9", "/%c3%a9/x", Some("/api/x")),
        ("", "/%C3%A9", "/", "/%c3%a9/x", None),
    ] {
        let rewrite = prefix(strip, add);
        let reverse = reverse("https://a", "http://app", base, Some(&rewrite));
        assert_eq!(location(&reverse, written).as_deref(), expected, "{base} {strip} {add}: {written}");
    }
    let fixed = rewrite("path: /fixed");
    let reverse = reverse("https://a", "http://app", "/v2", Some(&fixed));
    assert_eq!(location(&reverse, "/v2/x").as_deref(), Some("/x"));
    assert_eq!(location(&reverse, "http://app/v2/fixed").as_deref(), Some("https://a/fixed"));
}

#[test]
fn a_stripped_prefix_returns_only_to_requests_that_had_it() {
    for (requested, add, written, expected) in [
        ("/api", "/", "/x", Some("/api/x")),
        ("/login", "/", "/x", None),
        ("/login", "/", "/api/x", None),
        ("/apix", "/", "http://app/x", Some("https://a/x")),
        ("/login", "/v2", "/v2/x", Some("/x")),
        ("/api/login", "/v2", "/v2/x", Some("/api/x")),
    ] {
        let rewrite = prefix("/api", add);
        let reverse = Reverse { requested, ..reverse("https://a", "http://app", "", Some(&rewrite)) };
        assert_eq!(location(&reverse, written).as_deref(), expected, "{requested}: {written}");
    }
    let rewrite = prefix("/api", "/");
    let reverse = Reverse { requested: "/login", ..reverse("https://a", "http://app", "", Some(&rewrite)) };
    assert_eq!(cookie(&reverse, "a=b; Path=/"), None);
}

#[test]
fn a_location_with_the_preserved_host_keeps_it_and_has_its_path_reversed() {
    for (client, base, strip, add, written, expected) in [
        ("http://a", "/v2", "/", "/", "/v2/x", Some("/x")),
        ("http://a", "/v2", "/", "/", "http://a/v2/x?y", Some("http://a/x?y")),
        ("http://a", "/v2", "/", "/", "//A/v2", Some("//A/")),
        // The upstream redirects its clients to HTTPS.
        ("http://a", "/v2", "/", "/", "https://a/v2/x", Some("https://a/x")),
        ("http://a", "/v2", "/", "/", "https://a:8443/v2/x", None),
        ("http://a:8080", "/v2", "/", "/", "http://a:8080/v2//x", Some("http://a:8080//x")),
        ("http://a:8080", "/v2", "/", "/", "http://a/v2/x", None),
        ("https://a", "/v2", "/", "/", "https://a:443/v2/x", Some("https://a:443/x")),
        ("https://a", "/v2", "/", "/", "https://a/v20/x", None),
        ("https://a", "/v2", "/", "/", "https://app/v2/x", None),
        ("https://a", "/v2", "/", "/", "https://a:x/v2/x", None),
        ("https://a", "", "/api", "/v2", "https://a/v2", Some("https://a/api")),
        ("https://a", "", "/api", "/", "https://a/x", Some("https://a/api/x")),
        ("https://a", "", "/api", "/", "https://a", Some("https://a/api/")),
        ("https://a", "", "/api", "/", "https://a/api/x", None),
        ("https://a", "", "/", "/", "https://a", None),
        ("https://a", "", "/", "/", "http://a/x", None),
    ] {
        let rewrite = prefix(strip, add);
        let mut reverse = Reverse { keeps_host: true, ..reverse(client, "http://app", base, Some(&rewrite)) };
        let [_, sent] = &mut reverse.authorities;
        *sent = reverse.client.host;
        assert_eq!(location(&reverse, written).as_deref(), expected, "{client} {base} {strip}: {written}");
    }
}

#[test]
fn https_location_of_a_plain_upstream_leads_back_to_the_url_of_its_request() {
    let asked = |client, own, keeps_host| Reverse { keeps_host, ..reverse(client, own, "", None) };
    let leads_back = |reverse: &Reverse<'_>, written: &str, query| {
        reverse.leads_back(&HeaderValue::from_str(written).unwrap(), query)
    };
    for (written, query, expected) in [
        ("https://a/api/asked", None, true),
        ("HTTPS://A.:443/api/%61sked#top", None, true),
        ("https://a/api/asked?b=c", Some("b=c"), true),
        ("https://a/api/asked?", Some(""), true),
        ("https://a/api/asked?b=c", None, false),
        ("https://a/api/asked", Some("b=c"), false),
        ("https://a/api/asked/", None, false),
        ("https://a/api", None, false),
        ("https://a", None, false),
        ("https://a:8443/api/asked", None, false),
        ("https://b/api/asked", None, false),
        ("http://a/api/asked", None, false),
        ("//a/api/asked", None, false),
        ("/api/asked", None, false),
        ("asked", None, false),
        ("https://u@a/api/asked", None, false),
    ] {
        for keeps_host in [false, true] {
            let reverse = asked("https://a", "http://app:3000", keeps_host);
            assert_eq!(leads_back(&reverse, written, query), expected, "{written} {query:?}");
        }
    }
    for (client, own) in
        [("http://a", "http://app"), ("https://a", "https://app"), ("https://", "http://app")]
    {
        assert!(!leads_back(&asked(client, own, true), "https://a/api/asked", None), "{client} {own}");
    }
    let at_port = asked("https://a:8443", "http://app", true);
    assert!(leads_back(&at_port, "https://a:8443/api/asked", None));
    assert!(!leads_back(&at_port, "https://a/api/asked", None));
    let root = Reverse { requested: "/", ..asked("https://a", "http://app", true) };
    assert!(leads_back(&root, "https://a", None) && leads_back(&root, "https://a/?x", Some("x")));
    assert!(!leads_back(&root, "https://a/x", None) && !leads_back(&root, "https://a//", None));
}

#[test]
fn a_client_without_a_host_gets_a_path() {
    let plain = reverse("http://", "http://app", "", None);
    assert_eq!(location(&plain, "http://app/x").as_deref(), Some("/x"));
    assert_eq!(location(&plain, "http://app//evil.example"), None);
    let with_base = reverse("http://", "http://app", "/v2", None);
    assert_eq!(location(&with_base, "/v2/x").as_deref(), Some("/x"));
    assert_eq!(location(&with_base, "/v2//evil.example"), None);
}

#[test]
fn a_location_with_the_host_that_the_upstream_was_sent_is_its_own() {
    let mut reverse = reverse("https://a", "http://127.0.0.1:3000", "", None);
    let [_, sent] = &mut reverse.authorities;
    *sent = parse_authority("api.internal").unwrap();
    for (written, expected) in [
        ("http://127.0.0.1:3000/x", Some("https://a/x")),
        ("http://api.internal/x", Some("https://a/x")),
        ("http://API.internal:80/x", Some("https://a/x")),
        ("https://api.internal/x", Some("https://a/x")),
        ("https://api.internal:443/x", None),
        ("http://api.internal:3000/x", None),
    ] {
        assert_eq!(location(&reverse, written).as_deref(), expected, "{written}");
    }
}

fn cookie(reverse: &Reverse<'_>, written: &str) -> Option<String> {
    let changed = reverse.cookie(&HeaderValue::from_bytes(written.as_bytes()).unwrap())?;
    Some(String::from_utf8(changed.as_bytes().to_vec()).unwrap())
}

#[test]
fn the_domain_of_a_cookie_goes_if_it_is_the_upstreams_alone() {
    for (written, expected) in [
        ("a=b; Domain=api.internal", Some("a=b")),
        ("a=b; Path=/; Domain=.API.internal ;HttpOnly", Some("a=b; Path=/;HttpOnly")),
        ("a=b;domain = internal; Secure", Some("a=b; Secure")),
        ("a=b; Domain=api.internal; Domain=api.internal", Some("a=b")),
        (
            "a=\"x, y\"; Expires=Wed, 09 Jun 2100 10:18:14 GMT; domain=internal",
            Some("a=\"x, y\"; Expires=Wed, 09 Jun 2100 10:18:14 GMT"),
        ),
        ("a=b; Domain=.api.internal.", Some("a=b")),
        // The last domain counts. If it were removed and another one stayed, more hosts would get the cookie.
        ("a=b; Domain=example.com; Domain=api.internal", Some("a=b")),
        ("a=b; Domain=api.internal; Secure; Domain=example.com", None),
        ("a=b; Domain=api.internal; Domain=other.example", None),
        ("a=b; Domain=example.com.", None),
        ("domain=api.internal", None),
        ("a=b; Domain=www.example.com", None),
        ("a=b; Domain=example.com", None),
        ("a=b; Domain=other.internal", None),
        ("a=b; Domain=pi.internal", None),
        ("a=b; Domain=x.api.internal", None),
        ("a=b; Domain=", None),
        ("a=b; Domain", None),
        ("a=b; xDomain=api.internal", None),
        ("a=b", None),
        ("", None),
        (";;", None),
        ("é=é; Domain=api.internal; é", Some("é=é; é")),
    ] {
        let reverse = reverse("https://www.example.com", "http://api.internal:3000", "", None);
        assert_eq!(cookie(&reverse, written).as_deref(), expected, "{written}");
    }
    let shared = reverse("https://www.example.com", "http://api.example.com", "", None);
    assert_eq!(cookie(&shared, "a=b; Domain=example.com"), None);
    assert_eq!(cookie(&shared, "a=b; Domain=api.example.com").as_deref(), Some("a=b"));
    let address = reverse("https://a", "http://127.0.0.1:3000", "", None);
    assert_eq!(cookie(&address, "a=b; Domain=127.0.0.1").as_deref(), Some("a=b"));
    assert_eq!(cookie(&address, "a=b; Domain=0.0.1"), None);
}

#[test]
fn the_path_of_a_cookie_is_reversed_and_all_else_stays() {
    for (base, strip, add, written, expected) in [
        ("/v2", "/", "/", "a=/v2; Path=/v2/x; Secure", Some("a=/v2; Path=/x; Secure")),
        ("/v2", "/", "/", "a=b;  pAth  =  /v2  ; Secure", Some("a=b;  pAth  =  /  ; Secure")),
        ("/v2", "/", "/", "a=b; Path=/v20", None),
        ("/v2", "/", "/", "a=b; Path=/", None),
        ("/v2", "/", "/", "a=b; Path=v2", None),
        ("/v2", "/", "/", "a=b; Path=\"/v2\"", None),
        ("/v2", "/", "/", "a=b; Path", None),
        ("/v2", "/", "/", "path=/v2/x", None),
        ("", "/api", "/v2", "a=b; Path=/v2/x", Some("a=b; Path=/api/x")),
        ("", "/api", "/v2", "a=b; Path=/v2/", Some("a=b; Path=/api/")),
        ("", "/api", "/", "a=b; Path=/", Some("a=b; Path=/api")),
        ("", "/api", "/", "a=b; Path=/x/", Some("a=b; Path=/api/x/")),
        ("", "/api", "/", "a=b; Path=/api/x", None),
        ("", "/api", "/", "__Host-a=b; Path=/; Secure", None),
        ("", "/api", "/", "__Secure-a=b; Path=/; Secure", Some("__Secure-a=b; Path=/api; Secure")),
        ("", "/a;b", "/", "a=b; Path=/", None),
        ("/v2", "/", "/", "a=b; Path=/v2/x; Domain=app; Path=/v2/y", Some("a=b; Path=/x; Path=/y")),
    ] {
        let rewrite = prefix(strip, add);
        let reverse =
            Reverse { requested: strip, ..reverse("https://a", "http://app", base, Some(&rewrite)) };
        assert_eq!(cookie(&reverse, written).as_deref(), expected, "{base} {strip} {add}: {written}");
    }
}

proptest! {
    /// A client that follows the location of the path that its request went to sends the same request again.
    #[test]
    fn a_location_of_what_was_asked_for_leads_there_again(
        base in "(/[a-c]){0,2}", strip in "(/[a-c]){0,2}", add in "(/[a-c]){0,2}", path in "(/[a-c]{0,2}){1,4}",
    ) {
        let [strip, add] = [strip, add].map(|prefix| if prefix.is_empty() { "/".to_owned() } else { prefix });
        let rewrite = prefix(&strip, &add);
        let sent = |path: &str| format!("{base}{}", rewrite.apply(path, &Values::new("/", "/", "")).unwrap());
        let there = sent(&path);
        let reverse = Reverse { requested: &path, ..reverse("https://a", "http://app", &base, Some(&rewrite)) };
        let back = location(&reverse, &format!("http://app{there}?q")).unwrap();
        let again = back.strip_prefix("https://a").and_then(|path| path.strip_suffix("?q")).unwrap();
        prop_assert_eq!(&sent(again), &there);
        if let Some(back) = location(&reverse, &there) {
            let again = back.strip_prefix("https://a").unwrap_or(&back);
            prop_assert_eq!(sent(again), there);
        }
    }

    /// A location that names another site is never changed, whatever it contains.
    #[test]
    fn a_location_elsewhere_stays(host in "[a-z@:.\\\\]{0,8}evil", path in "[/a-z.?#@:\\\\]{0,8}") {
        let rewrite = prefix("/api", "/v2");
        let reverse = reverse("https://a", "http://app", "", Some(&rewrite));
        for written in [format!("http://{host}{path}"), format!("//{host}{path}")] {
            prop_assert_eq!(location(&reverse, &written), None);
        }
    }
}
