//! Asking a running gateway for its configuration.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest configuration there can be.
const BYTES_MAX: usize = 16 << 20;

/// What a gateway's admin listener at `url`, such as `http://127.0.0.1:9901`, says that it runs.
///
/// # Errors
/// Nobody answers there, or it is no gateway.
pub fn running_config(url: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = runtime.block_on(async { timeout(PATIENCE, fetch(url)).await });
    fetched.with_context(|| format!("{url} did not answer within {PATIENCE:?}"))?
}

async fn fetch(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    ensure!(uri.scheme_str() == Some("http"), "`{url}`: an admin listener speaks http");
    let authority = uri.authority().with_context(|| format!("`{url}` has no host"))?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, port)).await.with_context(|| format!("cannot reach {url}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let request = Request::get("/config").header(header::HOST, authority.as_str());
    let request = request.body(String::new())?;
    let answer = async move {
        let mut response = sender.send_request(request).await?;
        ensure!(response.status().is_success(), "{url} answers {} to /config", response.status());
        let body = response.body_mut();
        let mut text = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await
        {
            text.extend_from_slice(&frame?.into_data().unwrap_or_else(|_trailers| Bytes::new()));
            ensure!(text.len() <= BYTES_MAX, "{url} answers more than {} MiB", BYTES_MAX >> 20);
        }
        String::from_utf8(text)
            .with_context(|| format!("{url} answers with something else than a configuration"))
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => match ended {
            Ok(()) => bail!("{url} closed without an answer"),
            Err(error) => Err(error).with_context(|| format!("{url} broke off")),
        },
    }
}
