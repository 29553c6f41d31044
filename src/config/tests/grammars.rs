//! What the program refuses where it once read a value by two grammars, one for the file and one for the routes. The
//! stricter of the two is the only one now.

use super::errors::shown;

/// Returns the errors of a route that has these keys.
fn errors(keys: &str) -> String {
    shown(&format!("listeners: [{{ address: 127.0.0.1:8080 }}]\nroutes: [{{ {keys} }}]\n"))
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
