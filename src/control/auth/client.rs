//! An HTTP client for small documents, such as key sets and tokens. Requests are rare, so one idle connection is kept.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::KeyUrl;
use crate::control::connector::{Connector, Tls, root};
use crate::control::upstreams::names::ActiveResolver;
use crate::net::tls::{self, TlsError};

/// The largest document.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The largest head of a response.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The time for which a connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// A client for one URL. Redirects are not followed: the operator names the place that is trusted.
#[derive(Clone)]
pub(crate) struct Client {
    url: KeyUrl,
    pool: Pool<Connector, String>,
}

/// A document.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) body: Bytes,
    /// The time for which it is fresh, if its server says so (RFC 9111 §5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

impl Client {
    /// Creates a client. It uses `tls` for `https` alone.
    ///
    /// # Errors
    /// The host has no name that a certificate can have.
    pub(crate) fn new(url: KeyUrl, tls: &Tls, resolver: ActiveResolver) -> Result<Self, TlsError> {
        let connector = Connector::new(&url, Some(tls), tls::ALPN_H1, resolver)?;
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { url, pool })
    }

    /// Fetches the document.
    ///
    /// # Errors
    /// Returns the reason why there is none.
    pub(super) async fn fetch(&self) -> Result<Document, String> {
        let request = http::Request::get(self.url.to_string())
            .header(header::USER_AGENT, "gateway")
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(String::new());
        let response = self.send(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("status {}", status.as_u16()));
        }
        let max_age = max_age(&response);
        Ok(Document { body: read(response.into_body()).await?, max_age })
    }

    /// Posts a form. Returns the response's status and body.
    ///
    /// # Errors
    /// Returns the reason why there is no response.
    pub(super) async fn post(
        &self,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = http::Request::post(self.url.to_string())
            .header(header::USER_AGENT, "gateway")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.send(request.body(form)).await?;
        Ok((response.status(), read(response.into_body()).await?))
    }

    async fn send(&self, request: http::Result<http::Request<String>>) -> Result<Response<Incoming>, String> {
        let request = request.map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await.map_err(|error| reason(&error))?;
        if response.status().is_redirection() {
            let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let to = location.map(|to| format!(" to {to:?}")).unwrap_or_default();
            return Err(format!("it redirects{to}, and redirects are not followed: name that URL"));
        }
        Ok(response)
    }
}

async fn read(mut incoming: Incoming) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let frame = frame.map_err(|error| format!("the response broke: {}", root(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len().saturating_add(data.len()) > BODY_BYTES_MAX {
            return Err("its response is larger than 1 MiB".to_owned());
        }
        body.extend_from_slice(&data);
    }
    Ok(body.freeze())
}

/// Returns the `max-age` of a response.
fn max_age<B>(response: &Response<B>) -> Option<Duration> {
    let values = response.headers().get_all(header::CACHE_CONTROL).iter();
    let directives = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut ages = directives.filter_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    ages.next().map(Duration::from_secs)
}

fn reason(error: &Error) -> String {
    if error.is_connect() { root(error) } else { format!("no response: {}", root(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_any_field() {
        for (values, expected) in [
            (&["public, max-age=300"][..], Some(300)),
            (&["public", "Max-Age=\"5\", must-revalidate"], Some(5)),
            (&["s-maxage=5"], None),
            (&["max-age=-1"], None),
            (&["no-cache"], None),
            (&[], None),
        ] {
            let mut response = Response::builder();
            for value in values {
                response = response.header(header::CACHE_CONTROL, *value);
            }
            let age = max_age(&response.body(()).unwrap());
            assert_eq!(age, expected.map(Duration::from_secs), "{values:?}");
        }
    }
}
