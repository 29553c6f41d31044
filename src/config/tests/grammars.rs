//! The texts on which two grammars once disagreed: that of the file, and a second one of the routes or the policies. The
//! stricter of the two is the only one now.

use super::errors::shown;

/// Returns the errors of a route that has these keys.
fn errors(keys: &str) -> String {
    let upstreams = "upstreams: { users: { url: http://a } }";
    shown(&format!("listeners: [{{ address: 127.0.0.1:8080 }}]\n{upstreams}\nroutes: [{{ {keys} }}]\n"))
}

#[test]
fn stricter_of_two_grammars_holds_for_hosts() {
    let label = "a".repeat(63);
    for host in [&label[..], "a_b.example", "'[::1]'", "'*.example'"] {
        assert_eq!(errors(&format!("respond: {{}}, match: {{ host: {host} }}")), "", "{host}");
    }
    let (long_label, long_name) = (format!("{label}a"), ["a"; 128].join("."));
    for host in [&long_label[..], &long_name, "a.example.", "'*.a.example.'"] {
        let errors = errors(&format!("respond: {{}}, match: {{ host: {host} }}"));
        assert!(errors.contains("is not a host"), "{host}\n{errors}");
    }
}

#[test]
fn stricter_of_two_grammars_holds_for_each_other_value() {
    let (escape, dots) =
        ("has an escape that servers read in different ways", "has a dot segment before a `;`");
    let slash =
        "the path has an encoded slash, which a route accepts only with `paths: { encoded_slash: keep }`";
    for (keys, message) in [
        ("respond: {}, match: { methods: [m-search] }", "`m-search` is not a method: case matters"),
        ("respond: {}, match: { methods: [connect] }", "`connect` is never forwarded"),
        ("respond: {}, match: { headers: { x-a: é } }", "a header value holds only printable ASCII"),
        ("respond: {}, match: { query: { '': a } }", "a query parameter needs a name"),
        ("respond: { headers: { host: a } }", "the header `host` cannot be set"),
        ("respond: { headers: { http2-settings: a } }", "the header `http2-settings` cannot be set"),
        ("respond: {}, headers: { response: { add: { host: a } } }", "the header `host` cannot be changed"),
        (
            "upstream: users, headers: { request: { remove: [HTTP2-Settings] } }",
            "the header `http2-settings` cannot be changed",
        ),
        ("upstream: users, upgrade: [h2]", "`h2` would let requests past the routes"),
        ("upstream: users, upgrade: [h3/1]", "`h3/1` would let requests past the routes"),
        ("upstream: users, upgrade: [http]", "`http` would let requests past the routes"),
        ("upstream: users, upgrade: [TLS]", "`TLS` would let requests past the routes"),
        // Paths as the file writes them. Requests' paths were the second grammar.
        ("respond: {}, match: { path: /é }", "cannot stand in a path"),
        ("respond: {}, match: { prefix: '/a b' }", "cannot stand in a path"),
        ("respond: {}, match: { prefix: /a/./b }", "has dot segments"),
        ("respond: {}, match: { path: /a%5Cb }", escape),
        ("respond: {}, match: { template: '/%00/{a}' }", escape),
        ("upstream: users, rewrite: { path: /a%7f }", escape),
        ("respond: {}, match: { prefix: /..;a }", dots),
        ("respond: {}, match: { template: '/{a}/.%3B' }", dots),
        ("respond: {}, paths: { encoded_slash: keep }, match: { path: '/a%2F..' }", dots),
        ("upstream: users, rewrite: { add_prefix: /..%2fa }", dots),
        ("respond: {}, match: { path: /a%2Fb }", slash),
        ("respond: {}, match: { prefix: /a%2fb }", slash),
        ("respond: {}, match: { template: '/a%2Fb/{c}' }", slash),
        ("upstream: users, rewrite: { path: /a%2Fb }", slash),
        ("upstream: users, rewrite: { add_prefix: /a%2Fb }", slash),
        ("upstream: users, match: { template: '/{a}' }, rewrite: { template: '/b%2Fc/{a}' }", slash),
        // Templates.
        ("respond: {}, match: { template: '/{1}' }", "`{1}` is not a parameter"),
        ("respond: {}, match: { template: '/{a-b}' }", "`{a-b}` is not a parameter"),
        ("respond: {}, match: { template: /a }", "`/a` has no parameter such as {id}"),
        (
            "upstream: users, match: { template: '/{a}' }, rewrite: { template: '/b-{a}' }",
            "`{a}` is not a whole segment",
        ),
        ("redirect: { to: '/{a}' }", "the match has no parameter `{a}`"),
        ("match: { template: '/{a}' }, redirect: { to: '/{a-b}' }", "`{a-b}` is not a parameter"),
        ("redirect: { to: '/a}' }", "`/a}` has a `}` without its `{`"),
        ("redirect: { to: //a }", "`//a` is not a place to redirect to"),
        ("redirect: { to: '/\\a' }", "`/\\a` is not a place to redirect to"),
        ("match: { template: '/{a}' }, redirect: { to: 'https://{a}/' }", "is not a place to redirect to"),
    ] {
        let errors = errors(keys);
        assert!(errors.contains(message), "{keys}\n{errors}");
        assert_eq!(errors.matches("error:").count(), 1, "{keys}\n{errors}");
    }
    let long = format!("respond: {{}}, match: {{ template: '/{{a}}{}' }}", "/b".repeat(64));
    assert!(errors(&long).contains("a template has at most 64 segments"));
}

#[test]
fn text_that_both_grammars_accepted_is_valid() {
    for keys in [
        "respond: {}, match: { methods: [PURGE, M-SEARCH], headers: { x-a: present, x-b: '' }, query: { a: é } }",
        "respond: { status: 204, headers: { x-a: [a, b] } }",
        "respond: {}, paths: { encoded_slash: keep }, match: { path: /a%2Fb }",
        "upstream: users, paths: { encoded_slash: keep }, rewrite: { strip_prefix: '/', add_prefix: /a%2Fb }",
        "upstream: users, match: { template: '/{a}/{b_2}' }, rewrite: { template: '/%7e/{b_2}/{a}' }",
        "upstream: users, rewrite: { template: /fixed }",
        "upstream: users, upgrade: [websocket, custom/2]",
        "match: { template: '/{a}' }, redirect: { to: 'https://a/x-{a}?b={a}#{a}', status: 303 }",
    ] {
        assert_eq!(errors(keys), "", "{keys}");
    }
}
