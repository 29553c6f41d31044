//! The pages of the admin listener.

use std::net::IpAddr;
use std::str::FromStr;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::Value;

use super::answer::{Answer, TEXT};
use super::{AdminState, reload};
use crate::observe::metrics;

// RFC 9512.
const YAML: &str = "application/yaml";

/// A path, its description, and the function that creates its response.
struct Page {
    path: &'static str,
    about: &'static str,
    answer: fn(&AdminState) -> Answer,
}

const PAGES: [Page; 8] = [
    Page {
        path: "/",
        about: "this list",
        answer: |state| Answer::ok(TEXT, format!("{}\n{}", serving(state), index())),
    },
    Page {
        path: "/live",
        about: "200 while the process runs",
        answer: |_| Answer::ok(TEXT, "live\n".into()),
    },
    Page { path: "/ready", about: "200 while new requests are welcome, else 503", answer: ready },
    Page { path: "/pools", about: "upstream connections by pool and endpoint (JSON)", answer: pools },
    Page {
        path: "/routes",
        about: "routes in order of precedence (JSON)",
        answer: |state| Answer::json(&(state.routes)()),
    },
    Page {
        path: "/config",
        about: "the active configuration (YAML)",
        answer: |state| Answer::ok(YAML, (state.config)()),
    },
    Page {
        path: RELOAD,
        about: "the active configuration's number, and whether it matches the files on disk (JSON); POST reloads",
        answer: |state| Answer::json(&(state.generation)()),
    },
    Page {
        path: "/metrics",
        about: "metrics (OpenMetrics)",
        answer: |state| Answer::ok(metrics::CONTENT_TYPE, (state.metrics)()),
    },
];

/// The only page that accepts POST.
const RELOAD: &str = "/reload";

/// Returns the response to a request. If `guarded`, only a local name in Host is accepted.
pub(super) async fn respond<B>(state: &AdminState, request: &Request<B>, guarded: bool) -> Response<String> {
    let allowed = if request.uri().path() == RELOAD { "GET, HEAD, POST" } else { "GET, HEAD" };
    let answer = if guarded && !names_this_machine(request) {
        Answer::text(
            StatusCode::FORBIDDEN,
            "The Host of a request to this listener must be an IP address or localhost.\n",
        )
    } else if *request.method() == Method::POST && request.uri().path() == RELOAD {
        reload::answer(&state.reload, request.headers()).await
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Answer::text(StatusCode::METHOD_NOT_ALLOWED, format!("Only {allowed}.\n"))
    } else {
        match PAGES.iter().find(|page| page.path == request.uri().path()) {
            Some(page) => (page.answer)(state),
            None => Answer::text(
                StatusCode::NOT_FOUND,
                format!("There is no such path. The paths are:\n\n{}", index()),
            ),
        }
    };
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// Returns what a reader of the index page needs to know first.
fn serving(state: &AdminState) -> String {
    let report = (state.generation)();
    let generation = report.get("generation").unwrap_or_default();
    let on_disk = match report.get("in_sync").and_then(Value::as_bool) {
        Some(true) => "It matches the files on disk.".to_owned(),
        _ => format!("It does NOT match the files on disk: those were refused, see {RELOAD}."),
    };
    format!("Generation {generation} of the configuration is active. {on_disk}\n")
}

fn index() -> String {
    PAGES.iter().map(|page| format!("{:<10}{}\n", page.path, page.about)).collect()
}

fn ready(state: &AdminState) -> Answer {
    let (ready, word) = state.readiness.as_word();
    Answer::text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, format!("{word}\n"))
}

fn pools(state: &AdminState) -> Answer {
    Answer::json(&serde_json::json!({ "pools": (state.pools)() }))
}

/// Returns true if the request names its host by an IP address or as `localhost`, or, as HTTP/1.0 permits, not at all.
fn names_this_machine<B>(request: &Request<B>) -> bool {
    let local = |authority: &Authority| {
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        address.eq_ignore_ascii_case("localhost") || IpAddr::from_str(address).is_ok()
    };
    let fields = request.headers().get_all(HOST);
    request.uri().authority().is_none_or(local)
        && fields.iter().all(|field| Authority::try_from(field.as_bytes()).is_ok_and(|host| local(&host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_documented() {
        let (_, documented) =
            include_str!("../../../docs/operation.md").split_once("## The admin listener").unwrap();
        for page in &PAGES {
            assert!(documented.contains(&format!("`{}`", page.path)), "{}", page.path);
        }
    }

    #[test]
    fn only_names_of_this_machine_pass_the_guard() {
        for (host, passes) in [
            ("localhost", true),
            ("LocalHost:9901", true),
            ("127.0.0.1:9901", true),
            ("[::1]:9901", true),
            ("10.1.2.3", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:9901", false),
            ("", false),
        ] {
            let request = Request::get("/pools").header(HOST, host).body(()).unwrap();
            assert_eq!(names_this_machine(&request), passes, "{host}");
        }
        assert!(names_this_machine(&Request::get("/pools").body(()).unwrap()));
        assert!(!names_this_machine(&Request::get("http://evil.example/pools").body(()).unwrap()));
        let both = Request::get("/").header(HOST, "localhost").header(HOST, "evil.example").body(()).unwrap();
        assert!(!names_this_machine(&both));
    }
}
