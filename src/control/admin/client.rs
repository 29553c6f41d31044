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

/// The time that the gateway may take to send its configuration, or a report.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

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

/// The admin listener of a running gateway, at a URL such as `http://127.0.0.1:9901`. Each query is a connection of its own, and blocks
/// the calling thread.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    url: String,
    token: Option<String>,
}

impl Client {
    /// Returns a client that sends the token of the environment, if there is one.
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), token: std::env::var(TOKEN_VARIABLE).ok() }
    }

    /// Returns a client that sends this token.
    pub(crate) fn with_token(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), token: Some(token.to_owned()) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the active configuration: YAML as it was written.
    pub(crate) fn running_config(&self) -> Result<String, NoAnswer> {
        self.text("/config")
    }

    /// Returns a report of the API as it is sent.
    pub(crate) fn report(&self, path: &str) -> Result<String, NoAnswer> {
        self.text(path)
    }

    fn text(&self, path: &str) -> Result<String, NoAnswer> {
        self.ask(path, ANSWER_LIMIT, |status, text| match status {
            StatusCode::UNAUTHORIZED if self.token.is_some() => Err("it does not know the token".to_owned()),
            StatusCode::UNAUTHORIZED => Err(format!("it needs its token, in the variable {TOKEN_VARIABLE}")),
            status if status.is_success() => Ok(text),
            StatusCode::NOT_FOUND => Err(format!("it has no {path}: is it an older gateway, or no gateway?")),
            status => Err(format!("it answers {status} to {path}")),
        })
    }

    /// Returns the word of `/ready`, if the gateway is ready for new requests. Blocks for `limit` at most.
    pub(crate) fn ready(&self, limit: Duration) -> Result<String, NoAnswer> {
        self.ask("/ready", limit, |status, text| {
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
        &self,
        path: &str,
        limit: Duration,
        judge: impl FnOnce(StatusCode, String) -> Result<String, String>,
    ) -> Result<String, NoAnswer> {
        let because = |reason: &dyn Display| NoAnswer { url: self.url.clone(), reason: reason.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| because(&error))?;
        let fetched = runtime.block_on(async { timeout(limit, self.fetch(path)).await });
        // A lookup that hangs in the resolver must not delay the exit.
        runtime.shutdown_background();
        fetched
            .unwrap_or_else(|_elapsed| Err(format!("no answer within {limit:?}")))
            .and_then(|(status, text)| judge(status, text))
            .map_err(|reason| because(&reason))
    }

    async fn fetch(&self, path: &str) -> Result<(StatusCode, String), String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("not a URL: {error}"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.ok_or("write http://, and the address of an admin listener")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(message)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(message)?;
        let mut request = Request::get(path).header(header::HOST, authority.as_str());
        if let Some(token) = &self.token {
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
