//! Tests of paths that the file writes in another form than requests have.

use super::parse;

/// Checks a route with these keys. Returns the errors, as they are printed.
fn errors(keys: &str) -> String {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:80 }}]\nroutes: [{{ {keys}, upstream: {{ url: 'http://a' }} }}]\n"
    );
    parse(&text).err().map(|errors| errors.to_string()).unwrap_or_default()
}

#[test]
fn a_prefix_is_compared_with_the_match_in_normal_form() {
    for (matches, prefix, fits) in [
        ("prefix: /%7Euser", "/~user", true),
        ("prefix: /~user", "/%7euser", true),
        ("path: /caf%c3%a9/x", "/caf%C3%A9", true),
        ("template: '/%61/{id}'", "/a", true),
        ("template: '/a/{id}'", "/%61/b", true),
        ("template: '/a/{id}'", "/%62", false),
        ("prefix: /a%2541", "/aA", false),
        ("prefix: /a:b", "/a%3Ab", false),
    ] {
        let errors = errors(&format!("match: {{ {matches} }}, rewrite: {{ strip_prefix: '{prefix}' }}"));
        assert_eq!(errors.is_empty(), fits, "{matches}, {prefix}\n{errors}");
        assert!(fits || errors.contains("no path of the match begins with"), "{errors}");
    }
}

#[test]
fn a_path_with_encoded_dot_segments_is_an_error_with_the_path_to_write() {
    for (keys, advice) in [
        ("match: { path: /a/%2e%2E/b }", "write `/b`"),
        ("match: { prefix: /a/.%2e/ }", "write `/`"),
        ("match: { template: '/a/%2e/{id}' }", "write `/a/{id}`"),
        ("rewrite: { path: /x/%2e }", "write `/x/`"),
        ("match: { path: /%2e%2e/b }", "write the path without `.` and `..`"),
        ("match: { path: '/a[b]' }", "write it as `%5B`"),
    ] {
        let errors = errors(keys);
        assert!(errors.contains(advice), "{keys}\n{errors}");
    }
}
