//! The client of an admin listener, with which subcommands query a running gateway.

use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The time that the gateway may take to send its configuration.
const CONFIG_LIMIT: Duration = Duration::from_secs(10);

/// The largest response that is read.
const BYTES_MAX: usize = 16 << 20;

/// The environment variable with the token of the admin listener.
const TOKEN_VARIABLE: &str = "GATEWAY_ADMIN_TOKEN";

/// The reason why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub(crate) struct NoAnswer {
    url: String,
    reason: String,
}

/// Returns the active configuration of the gateway whose admin listener is at `url`, such as `http://127.0.0.1:9901`:
/// YAML as it was written. Blocks the calling thread for ten seconds at most.
pub(crate) fn running_config(url: &str) -> Result<String, NoAnswer> {
    ask(url, "/config", CONFIG_LIMIT, |status, text| match status {
        StatusCode::UNAUTHORIZED => Err(format!("it needs its token, in the variable {TOKEN_VARIABLE}")),
        status if status.is_success() => Ok(text),
        status => Err(format!("it answers {status} to /config")),
    })
}

/// Returns the word of `/ready` of the gateway whose admin listener is at `url`, if it is ready for new requests.
/// Blocks the calling thread for `limit` at most.
pub(crate) fn ready(url: &str, limit: Duration) -> Result<String, NoAnswer> {
    ask(url, "/ready", limit, |status, text| {
        // A program other than the gateway may respond with a page of any length.
        let word: String = text.lines().next().unwrap_or_default().chars().take(100).collect();
        match status {
            StatusCode::OK if word == super::READY => Ok(word),
            StatusCode::OK => Err(format!("it answers `{word}` to /ready, which no gateway does")),
            StatusCode::SERVICE_UNAVAILABLE => Err(format!("not ready: {word}")),
            status => Err(format!("it answers {status} to /ready")),
        }
    })
}

fn ask(
    url: &str,
    path: &str,
    limit: Duration,
    judge: impl FnOnce(StatusCode, String) -> Result<String, String>,
) -> Result<String, NoAnswer> {
    let because = |reason: &dyn Display| NoAnswer { url: url.to_owned(), reason: reason.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| because(&error))?;
    let fetched = runtime.block_on(async { timeout(limit, fetch(url, path)).await });
    // A lookup that hangs in the resolver must not delay the exit.
    runtime.shutdown_background();
    fetched
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {limit:?}")))
        .and_then(|(status, text)| judge(status, text))
        .map_err(|reason| because(&reason))
}

async fn fetch(url: &str, path: &str) -> Result<(StatusCode, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or("write http://, and the address of an admin listener")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(message)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(message)?;
    let mut request = Request::get(path).header(header::HOST, authority.as_str());
    if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(String::new()).map_err(message)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(message)?;
        Ok((response.status(), read(response.into_body()).await?))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or("it closed without an answer".to_owned(), message)),
    }
}

async fn read(mut body: Incoming) -> Result<String, String> {
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(message)?.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > BYTES_MAX {
            return Err(format!("it answers more than {} MiB", BYTES_MAX >> 20));
        }
    }
    String::from_utf8(text).map_err(|_| "its answer is not text".to_owned())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn message(error: impl Display) -> String {
    error.to_string()
}
