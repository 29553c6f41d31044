//! The paths of the admin listener, and the responses to requests for them.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;

use super::access::{Reach, Sensitivity};
use super::answer::{Answer, JSON, TEXT};
use super::problem::Problem;
use super::{AdminState, Form, Report, drain, log, page, reload};
use crate::observe::metrics::Exposition;

// RFC 9512.
const YAML: &str = "application/yaml";

/// A path and its meaning.
pub(crate) struct Resource {
    pub(crate) path: &'static str,
    /// The path of earlier versions, which scripts may use.
    pub(crate) alias: Option<&'static str>,
    pub(crate) about: &'static str,
    pub(crate) get: Get,
    pub(crate) writes: &'static [Write],
}

/// The response to GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Get {
    Page,
    Index,
    OpenApi,
    Live,
    Ready,
    Report(Report),
    Config,
    Log,
    Metrics,
}

/// A request that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Reload,
    Drain,
    EndDrain,
    SetLog,
}

impl Write {
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Reload | Self::Drain => Method::POST,
            Self::EndDrain => Method::DELETE,
            Self::SetLog => Method::PUT,
        }
    }
}

const fn report(path: &'static str, report: Report, about: &'static str) -> Resource {
    Resource { path, alias: None, about, get: Get::Report(report), writes: &[] }
}

const fn other(path: &'static str, get: Get, about: &'static str) -> Resource {
    Resource { path, alias: None, about, get, writes: &[] }
}

/// All paths, in the order in which they are listed.
pub(crate) const RESOURCES: [Resource; 20] = [
    other(page::PATH, Get::Page, "the page for people"),
    other("/api", Get::Index, "this list"),
    other("/api/openapi.json", Get::OpenApi, "the description of all this for programs (OpenAPI)"),
    report("/api/status", Report::Status, "the process, and what is wrong at the moment"),
    Resource {
        alias: Some("/pools"),
        ..report("/api/pools", Report::Pools, "upstream connections by pool and endpoint")
    },
    Resource {
        alias: Some("/routes"),
        ..report("/api/routes", Report::Routes, "routes in the order of precedence, with their requests")
    },
    report("/api/upstreams", Report::Upstreams, "upstreams, and the health of their endpoints"),
    report(
        "/api/filters",
        Report::Filters,
        "filters: calls, time, memory and failures, the last failure and the last log lines",
    ),
    report("/api/listeners", Report::Listeners, "listeners, and their certificates"),
    report(
        "/api/history",
        Report::History,
        "the last 15 minutes in columns: of all pools, or of those that ?pool=, endpoint= and address= name",
    ),
    report(
        "/api/advice",
        Report::Advice,
        "the settings that hold requests back, and the values that would have sufficed",
    ),
    report(
        "/api/kernel",
        Report::Kernel,
        "connections to upstreams as the kernel counts them, beside the pools' count",
    ),
    Resource {
        alias: Some("/config"),
        ..other("/api/config", Get::Config, "the active configuration (YAML)")
    },
    report(
        "/api/reloads",
        Report::Reloads,
        "the last reloads: their changes, or the errors that refused them",
    ),
    Resource {
        alias: Some("/reload"),
        writes: &[Write::Reload],
        ..report(
            "/api/reload",
            Report::Reload,
            "the active configuration's number, and whether it matches the files on disk; POST reloads",
        )
    },
    Resource {
        writes: &[Write::Drain, Write::EndDrain],
        ..report(
            "/api/drain",
            Report::Drain,
            "POST has /ready answer 503 until DELETE, or until the process ends",
        )
    },
    Resource { writes: &[Write::SetLog], ..other("/api/log", Get::Log, "the level of the log; PUT sets it") },
    Resource {
        alias: Some("/metrics"),
        ..other(
            "/api/metrics",
            Get::Metrics,
            "metrics (OpenMetrics; the text format of Prometheus for Accept: text/plain)",
        )
    },
    other("/live", Get::Live, "200 while the process runs"),
    other("/ready", Get::Ready, "200 while new requests are welcome, else 503"),
];

impl Resource {
    fn find(path: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.path == path || resource.alias == Some(path))
    }

    fn sensitivity(&self) -> Sensitivity {
        match self.get {
            Get::Live | Get::Ready => Sensitivity::Probe,
            Get::Metrics => Sensitivity::Metrics,
            Get::Page => Sensitivity::Page,
            _ => Sensitivity::Data,
        }
    }

    /// Returns the methods that it takes, as `Allow` lists them.
    fn allowed(&self) -> String {
        let writes = self.writes.iter().map(|write| write.method().to_string());
        ["GET".to_owned(), "HEAD".to_owned()].into_iter().chain(writes).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the response to a request.
pub(super) async fn respond<B>(state: &AdminState, request: Request<B>, reach: Reach) -> Response<String>
where
    B: Body<Data: AsRef<[u8]>> + Unpin,
{
    let answer = answer(state, request, reach).await.unwrap_or_else(|problem| Answer::from(*problem));
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(answer.fields);
    response
}

async fn answer<B>(state: &AdminState, request: Request<B>, reach: Reach) -> Result<Answer, Box<Problem>>
where
    B: Body<Data: AsRef<[u8]>> + Unpin,
{
    let path = request.uri().path();
    let resource = Resource::find(path);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let file = page::find(path).filter(|_| reads);
    let sensitivity = match (file, resource) {
        (Some(_), _) => Sensitivity::Page,
        (None, Some(resource)) => resource.sensitivity(),
        (None, None) => Sensitivity::Data,
    };
    state.reports.access().check(&request, reach, sensitivity, !reads)?;
    if let Some(file) = file {
        return Ok(file.answer());
    }
    let resource = resource.ok_or_else(|| {
        Problem::new("not-found", StatusCode::NOT_FOUND, "There is no such path; GET /api lists them.")
    })?;
    if reads {
        return get(state, resource.get, &request);
    }
    match resource.writes.iter().find(|write| write.method() == *request.method()) {
        Some(Write::Reload) => reload::answer(&state.reload).await,
        Some(Write::Drain) => Ok(drain::begin(state)),
        Some(Write::EndDrain) => drain::end(state),
        Some(Write::SetLog) => log::set(request.into_body()).await,
        None => Err(not_allowed(resource)),
    }
}

fn not_allowed(resource: &Resource) -> Box<Problem> {
    let allowed = resource.allowed();
    let detail = format!("{} takes only {allowed}.", resource.path);
    let problem = Problem::new("method", StatusCode::METHOD_NOT_ALLOWED, detail);
    Box::new(match HeaderValue::try_from(allowed) {
        Ok(allowed) => problem.with_field(ALLOW, allowed),
        Err(_) => problem,
    })
}

fn get<B>(state: &AdminState, get: Get, request: &Request<B>) -> Result<Answer, Box<Problem>> {
    Ok(match get {
        Get::Page => page::index(),
        Get::Index => Answer::ok(TEXT, format!("{}\n\n{}", state.reports.sentence(), index())),
        Get::OpenApi => Answer::ok(JSON, state.reports.openapi()),
        Get::Live => Answer::ok(TEXT, "live\n".to_owned()),
        Get::Ready => ready(state),
        Get::Report(report) => {
            let query = request.uri().query().unwrap_or_default();
            let found = state.reports.report(report, query, form(request.headers()));
            let none = || Problem::new("not-found", StatusCode::NOT_FOUND, "Nothing is as the query says.");
            Answer::ok(JSON, found.ok_or_else(none)?)
        }
        Get::Config => Answer::ok(YAML, state.reports.config()),
        Get::Log => log::show(),
        Get::Metrics => {
            let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            let form = Exposition::accepted(accepted);
            Answer::ok(form.content_type(), state.reports.metrics(form))
        }
    })
}

/// Returns the form of JSON for a client: compact if it asks for JSON by name, as a program does. Half of a report of a thousand routes
/// would be white space.
fn form(headers: &HeaderMap) -> Form {
    let asks = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(JSON));
    if headers.get_all(ACCEPT).iter().any(asks) { Form::Compact } else { Form::Indented }
}

fn index() -> String {
    let mut lines = String::new();
    for resource in &RESOURCES {
        let alias = resource.alias.map(|alias| format!(" (also {alias})")).unwrap_or_default();
        lines.push_str(&format!("{:<18} {}{alias}\n", resource.path, resource.about));
    }
    lines
}

fn ready(state: &AdminState) -> Answer {
    let (ready, word) = state.readiness.as_word();
    Answer::text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, format!("{word}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_documented() {
        let (_, documented) =
            include_str!("../../../docs/operation.md").split_once("## The admin listener").unwrap();
        for resource in &RESOURCES {
            for path in [Some(resource.path), resource.alias].into_iter().flatten() {
                assert!(documented.contains(&format!("`{path}`")), "{path}");
            }
        }
    }
}
