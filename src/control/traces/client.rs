//! Requests to a receiver of OTLP, by gRPC or by HTTP (OTLP 1.9).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::grpc;
use super::outcome::{Refusal, rejected};
use super::settings::ExporterSettings;
use crate::config::OtlpProtocol;
use crate::control::connector::{Connector, root};

/// The largest response that is read.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The path of traces by HTTP, if the URL has none.
const HTTP_PATH: &str = "/v1/traces";

/// The path of traces by gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A client of one receiver.
pub(super) struct Client {
    pool: Pool<Connector, Whole>,
    protocol: OtlpProtocol,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

/// A body in memory.
struct Whole(Option<Bytes>);

impl Client {
    pub(super) fn new(settings: ExporterSettings) -> Self {
        let ExporterSettings { written, connector, headers } = settings;
        let url = written.otlp.url();
        let path = match (written.protocol, url.target.as_str()) {
            (OtlpProtocol::Grpc, _) => GRPC_PATH,
            (OtlpProtocol::Http, "/") => HTTP_PATH,
            (OtlpProtocol::Http, path) => path,
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .http2_only(written.protocol == OtlpProtocol::Grpc)
            .build(connector);
        Self {
            pool,
            protocol: written.protocol,
            url: format!("{}://{}{path}", url.scheme.as_str(), url.authority),
            headers,
            timeout: written.timeout.into(),
        }
    }

    /// Sends a message. Returns the number of spans that the receiver refused while it took the others.
    pub(super) async fn send(&self, message: Bytes) -> Result<u64, Refusal> {
        let late = || Refusal::retry(format!("no response within {:?}", self.timeout));
        tokio::time::timeout(self.timeout, self.exchange(message))
            .await
            .unwrap_or_else(|_elapsed| Err(late()))
    }

    async fn exchange(&self, message: Bytes) -> Result<u64, Refusal> {
        let user_agent = concat!("gateway/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::post(&self.url).header(header::USER_AGENT, user_agent);
        request = match self.protocol {
            OtlpProtocol::Grpc => {
                request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers")
            }
            OtlpProtocol::Http => request.header(header::CONTENT_TYPE, "application/x-protobuf"),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = match self.protocol {
            OtlpProtocol::Grpc => grpc::framed(&message),
            OtlpProtocol::Http => message,
        };
        let request = request.body(Whole(Some(body))).map_err(|error| Refusal::Final(error.to_string()))?;
        let response = self.pool.request(request).await.map_err(|error| Refusal::retry(root(&error)))?;
        let (head, body) = response.into_parts();
        let (body, trailers) = read(body).await?;
        match self.protocol {
            OtlpProtocol::Grpc => grpc::outcome(head.status, &head.headers, &trailers, &body),
            OtlpProtocol::Http => outcome(head.status, &head.headers, &body),
        }
    }
}

/// Reads a response to its end.
async fn read(mut incoming: Incoming) -> Result<(Bytes, HeaderMap), Refusal> {
    let (mut body, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let frame = frame.map_err(|error| Refusal::retry(format!("the response broke: {}", root(&error))))?;
        match frame.into_data() {
            Ok(data) if body.len().saturating_add(data.len()) > RESPONSE_BYTES_MAX => {
                return Err(Refusal::Final("its response is larger than 1 MiB".to_owned()));
            }
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((body.freeze(), trailers))
}

/// Returns what a response by HTTP says (OTLP, "OTLP/HTTP Response").
fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<u64, Refusal> {
    let error = || format!("status {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(rejected(body)),
        429 | 502..=504 => Err(Refusal::retry_after(retry_after(headers), error())),
        _ => Err(Refusal::Final(error())),
    }
}

/// Returns the pause that `Retry-After` asks for: seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::traces::outcome::RETRY_AFTER_MAX;

    #[test]
    fn statuses_of_http_are_taken_as_the_specification_says() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let of = |status: u16| outcome(StatusCode::from_u16(status).unwrap(), &headers, b"");
        assert_eq!((of(200), of(202)), (Ok(0), Ok(0)));
        for status in [429, 502, 503, 504] {
            let refusal = of(status);
            let Err(Refusal::Retry { after: Some(after), .. }) = refusal else { panic!("{refusal:?}") };
            assert_eq!(after, Duration::from_secs(7));
        }
        for status in [400, 401, 404, 413, 500, 501] {
            assert_eq!(of(status), Err(Refusal::Final(format!("status {status}"))));
        }
    }

    #[test]
    fn pause_of_a_receiver_is_bounded() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("86400"));
        let refusal = outcome(StatusCode::SERVICE_UNAVAILABLE, &headers, b"");
        assert!(matches!(refusal, Err(Refusal::Retry { after: Some(RETRY_AFTER_MAX), .. })), "{refusal:?}");
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(retry_after(&headers), None);
    }
}
