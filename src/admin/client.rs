//! Asking the admin listener of another gateway.

use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest configuration there can be.
const BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct NoAnswer {
    /// Who was asked.
    url: String,
    reason: String,
}

/// What the gateway whose admin listener is at `url`, such as `http://127.0.0.1:9901`, runs: YAML, as it was written.
/// Blocks the calling thread, for ten seconds at most.
///
/// # Errors
/// Nobody answers there, or it is no gateway.
pub fn running_config(url: &str) -> Result<String, NoAnswer> {
    let because = |reason: &dyn Display| NoAnswer { url: url.to_owned(), reason: reason.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| because(&error))?;
    let fetched = runtime.block_on(async { timeout(PATIENCE, fetch(url)).await });
    fetched
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {PATIENCE:?}")))
        .map_err(|reason| because(&reason))
}

async fn fetch(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or("write http://, and the address of an admin listener")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(told)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(told)?;
    let request = Request::get("/config").header(header::HOST, authority.as_str());
    let request = request.body(String::new()).map_err(told)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(told)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answers {status} to /config"));
        }
        read(response.into_body()).await
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or("it closed without an answer".to_owned(), told)),
    }
}

async fn read(mut body: Incoming) -> Result<String, String> {
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(told)?.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > BYTES_MAX {
            return Err(format!("it answers more than {} MiB", BYTES_MAX >> 20));
        }
    }
    String::from_utf8(text).map_err(|_| "its answer is no configuration".to_owned())
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: impl Display) -> String {
    error.to_string()
}
