//! The probes of one endpoint, one after the other.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::Dialer;
use super::request::Request;
use super::{grpc, http1, http2};
use crate::config::{ActiveSettings, HealthSettings, HttpProbe, ProbeKind, UpstreamProtocol};
use crate::net::tls;
use crate::upstream::Endpoint;

/// The probes at once in the process, each of which has a socket.
static PROBES: Semaphore = Semaphore::const_new(256);

/// Probes an endpoint for ever: at once if no probe has judged it yet, and then at the interval, which counts from the last probe
/// also if that was before a reload.
pub(super) async fn repeat(endpoint: Arc<Endpoint>, settings: Arc<HealthSettings>) {
    let Some(active) = &settings.active else { return };
    let dialer = Dialer::new(&endpoint, protocols(active, endpoint.protocol()), active.port);
    endpoint.begin_probes();
    loop {
        if let Some(due) = endpoint.next_probe(active.interval) {
            tokio::time::sleep_until(due).await;
        }
        // The wait for other probes does not count. The semaphore is never closed.
        let turn = PROBES.acquire().await;
        let result = timeout(active.timeout, probe(&endpoint, &dialer, &active.kind)).await;
        drop(turn);
        let result = result.unwrap_or_else(|_| Err(format!("timed out after {:?}", active.timeout)));
        if let Err(reason) = &result {
            tracing::debug!(endpoint = endpoint.url(), address = %endpoint.address(), "a probe failed: {reason}");
        }
        endpoint.record_probe(&settings, result.err());
    }
}

/// Returns the protocols that a probe may speak, for the TLS handshake.
fn protocols(active: &ActiveSettings, protocol: UpstreamProtocol) -> &'static [&'static [u8]] {
    match (&active.kind, protocol) {
        (ProbeKind::Grpc(_), _) | (_, UpstreamProtocol::H2) => &[tls::ALPN_H2],
        (_, UpstreamProtocol::H1) => &[tls::ALPN_H1],
        (_, UpstreamProtocol::Auto) => &[tls::ALPN_H2, tls::ALPN_H1],
    }
}

/// Probes once.
///
/// # Errors
/// Returns the reason why the endpoint counts as failing.
async fn probe(endpoint: &Endpoint, dialer: &Dialer<'_>, kind: &ProbeKind) -> Result<(), String> {
    let connection = dialer.open().await?;
    match kind {
        ProbeKind::Tcp => Ok(()),
        ProbeKind::Grpc(_) if !connection.chose_h2(true) => Err(NOT_H2.to_owned()),
        ProbeKind::Grpc(service) => {
            let request = grpc::check(endpoint, service);
            grpc::judge(&http2::exchange(connection.stream, &request).await?)
        }
        ProbeKind::Http(http) => {
            let request = Request::of_probe(endpoint, http);
            let is_h2 = connection.chose_h2(endpoint.protocol() == UpstreamProtocol::H2);
            let response = match endpoint.protocol() {
                UpstreamProtocol::H2 if !is_h2 => return Err(NOT_H2.to_owned()),
                _ if is_h2 => http2::exchange(connection.stream, &request).await?,
                _ => http1::exchange(connection.stream, &request).await?,
            };
            judge(http, response.status, &response.body)
        }
    }
}

const NOT_H2: &str = "it does not choose HTTP/2 in the TLS handshake (ALPN)";

fn judge(probe: &HttpProbe, status: http::StatusCode, body: &[u8]) -> Result<(), String> {
    if !probe.expects(status) {
        return Err(format!("status {}", status.as_u16()));
    }
    let Some(text) = &probe.body else { return Ok(()) };
    let is_in_body = body.windows(text.len()).any(|window| window == text.as_bytes());
    if is_in_body { Ok(()) } else { Err(format!("body without {text:?}")) }
}
