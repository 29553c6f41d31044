//! The failures of a request, and the status code and the reason of each. This is the only place where a failure becomes a status code;
//! [`grpc`](crate::http::grpc) has its own.

use http::StatusCode;

/// The reason for which a message's framing cannot be trusted (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    /// Both length fields in one message, which is how requests are smuggled (RFC 9112 §6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// More than one Content-Length, even when they agree.
    #[error("more than one Content-Length")]
    SeveralLengths,
    /// A Content-Length that is not a plain decimal number of at most 18 digits.
    #[error("malformed Content-Length")]
    MalformedLength,
    /// Anything but a single `chunked`.
    #[error("unsupported Transfer-Encoding")]
    UnknownEncoding,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingInHttp10,
    /// A chunk size that is not a hexadecimal number, or that overflows 64 bits.
    #[error("bad chunk size")]
    ChunkSize,
    /// Chunk extensions longer than any sender needs.
    #[error("chunk extension too long")]
    ChunkExtension,
    /// A chunk or chunk line that does not end in CR LF.
    #[error("bad line end in a chunked body")]
    ChunkLineEnd,
    /// A trailer section that is malformed, or has more than 64 fields or 16 KiB.
    #[error("bad trailer section")]
    Trailers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// The stable reason, such as `filter.NAME.trap`.
    pub(crate) reason: &'static str,
    /// The status code of the response.
    pub(crate) status: u16,
}

/// The failure of a request, named after its cause or the limit that it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The request head is not an HTTP/1 message.
    #[error("malformed request head: {0}")]
    RequestMalformed(&'static str),
    /// The request's framing is ambiguous or broken.
    #[error("request framing: {0}")]
    RequestFraming(FramingError),
    /// A missing, repeated or malformed Host; the reason says which.
    #[error("the request does not name one host")]
    RequestHost(&'static str),
    /// A path that can be read in two ways; the reason says how.
    #[error("the path can be read in more than one way")]
    RequestPath(&'static str),
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("unsupported Expect")]
    RequestExpectation,
    /// CONNECT, which a gateway does not serve.
    #[error("method not supported by a gateway")]
    RequestMethod,
    /// An extended CONNECT to a protocol that its route does not upgrade to (RFC 8441).
    #[error("the route does not upgrade to this protocol")]
    RequestProtocol,
    /// A version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    RequestVersion,
    /// More header fields than `limits.headers`.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A head larger than `limits.header_bytes`.
    #[error("request head too large")]
    HeadTooLarge,
    /// A request target longer than `limits.target_bytes`.
    #[error("request target too long")]
    TargetTooLong,
    /// A body larger than `limits.body`.
    #[error("request body too large")]
    BodyTooLarge,
    /// The body does not match its Content-Encoding, and a filter reads it decoded.
    #[error("the request's body is not what its Content-Encoding says")]
    RequestCoding,
    /// A request by gRPC-Web in its text form whose body is not base64.
    #[error("the request's body is not base64")]
    GrpcWebText,
    /// The head did not arrive within `timeouts.request_header`.
    #[error("request head too slow")]
    RequestHeaderTimeout,
    /// The body stalled for `timeouts.request_body`.
    #[error("request body too slow")]
    RequestBodyTimeout,
    /// The client closed its connection before its request had ended and had a response.
    #[error("client closed")]
    ClientClosed,
    /// The client read nothing for `timeouts.response_write`.
    #[error("client stopped reading")]
    ResponseWriteTimeout,

    /// The client, or all together, have sent more requests than `rate_limit` permits.
    #[error("too many requests")]
    RateLimit,
    /// The store of a limit does not respond, and the limit has `on_error: closed`.
    #[error("the store of a rate limit does not respond")]
    RateLimitStore,
    /// As many requests as `concurrent` permits are in progress.
    #[error("too many requests in progress")]
    Concurrent,

    #[error("no route")]
    NoRoute,

    /// The route does not serve the client's address. The reason is the list that says so.
    #[error("the route does not serve this address")]
    Address(&'static str),
    /// The route serves only callers that it knows, and the request does not show that it is from one. The reason says why.
    #[error("the route serves only callers that it knows")]
    Unauthenticated(&'static str),
    /// The caller is known, and may not use the route. The reason says why.
    #[error("the caller may not use this route")]
    Forbidden(&'static str),
    /// The caller could not be found out; the reason says why. It is not the caller's fault.
    #[error("the caller could not be authenticated")]
    AuthUnavailable(&'static str),

    /// As many requests wait for a connection as `pool.max_pending` allows.
    #[error("too many requests wait for a connection")]
    PoolFull,
    /// As many requests as `max_concurrent` allows were under way for all of `pool.acquire_timeout`.
    #[error("too many requests at once")]
    MaxConcurrent,
    /// No connection became free within `pool.acquire_timeout`.
    #[error("no connection became free in time")]
    AcquireTimeout,
    /// Most requests to the upstream have failed, and its `breaker` refuses further ones for a while.
    #[error("too many requests to the upstream have failed")]
    BreakerOpen,
    /// The upstream's host name has no address.
    #[error("upstream name not resolved")]
    Unresolved,
    /// No connection to the endpoint could be opened.
    #[error("connect failed")]
    ConnectFailed,
    /// TCP and TLS together took longer than `timeouts.connect`.
    #[error("connect timed out")]
    ConnectTimeout,
    /// The TLS handshake with the endpoint failed.
    #[error("TLS handshake failed")]
    TlsFailed,
    /// The endpoint is to speak HTTP/2, and does not.
    #[error("upstream does not speak HTTP/2")]
    NotHttp2,
    /// The endpoint reset the request's HTTP/2 stream before its response.
    #[error("upstream reset the stream without a response")]
    UpstreamReset,
    /// The endpoint has certainly not processed the request: it refused the HTTP/2 stream, or was ending the connection.
    #[error("upstream refused the stream")]
    UpstreamRefused,
    /// The endpoint closed or reset the connection before its response.
    #[error("upstream closed without a response")]
    UpstreamClosed,
    /// The endpoint sent something other than an HTTP/1 response.
    #[error("malformed response: {0}")]
    ResponseMalformed(&'static str),
    /// The response's framing is ambiguous or broken.
    #[error("response framing: {0}")]
    ResponseFraming(FramingError),
    /// The response ended before its declared length or its last chunk.
    #[error("response cut short")]
    ResponseTruncated,
    /// The response's body does not match its Content-Encoding, and a filter reads it decoded.
    #[error("the response's body is not what its Content-Encoding says")]
    ResponseCoding,
    /// The response to one of the gateway's own requests exceeds its limit.
    #[error("response body too large")]
    ResponseTooLarge,
    /// No response head arrived within `timeouts.response_header`.
    #[error("response header too late")]
    ResponseHeaderTimeout,
    /// A body made no progress for `timeouts.idle`.
    #[error("body stalled")]
    IdleTimeout,
    /// One attempt took longer than `timeouts.per_try`.
    #[error("attempt took too long")]
    PerTryTimeout,
    /// The exchange took longer than `timeouts.request`.
    #[error("request took too long")]
    RequestTimeout,
    /// A gRPC call took longer than its `grpc-timeout`.
    #[error("call took longer than its grpc-timeout")]
    GrpcTimeout,
    /// The upstream speaks HTTP/2 and takes no extended CONNECT, so the client's upgrade cannot reach it.
    #[error("the upstream takes no upgrade over HTTP/2")]
    UpgradeUnsupported,
    /// The upstream switched protocols without being asked, or to another protocol than the requested one.
    #[error("unasked-for protocol switch")]
    UnexpectedUpgrade,
    /// The upstream served an upgrade as if it were none. For an extended CONNECT its 2xx would open a tunnel.
    #[error("no protocol switch")]
    MissingUpgrade,
    /// A filter failed, and its policy makes the request fail, too.
    #[error("a filter failed")]
    Filter(FilterError),
    /// A filter had the route chosen again, and the new route has filters that the request does not pass through.
    #[error("the route that was chosen again has other filters")]
    RouteFilters,
    /// A filter had the route chosen again, and the new route has policies that the request has not passed.
    #[error("the route that was chosen again has other policies")]
    RoutePolicies,
    /// The request lacks a value that the route's `rewrite` or `redirect` needs, or has one that cannot be a segment of a path.
    #[error("the request lacks a value for the path that it is sent to")]
    RouteValue,
    /// A filter responded in place of the exchange in progress. This ends the exchange and is no failure.
    #[error("answered by a filter")]
    FilterAnswered,
    /// A filter gave up the request without a response.
    #[error("closed by a filter")]
    FilterClosed,
    /// The process is shutting down and its drain time is over.
    #[error("shutting down")]
    ShuttingDown,
    /// A reload removed the route, and `shutdown.drain` has passed for its streams, too.
    #[error("route removed")]
    RouteRemoved,
    /// A fault of the gateway itself.
    #[error("internal error")]
    Internal,
}

impl Error {
    /// Returns the status code for the client, and the reason for `x-gateway-error`. The reason is the configuration
    /// key if a limit was met. 499 is never sent: in logs and metrics it marks a client that left.
    fn parts(self) -> (u16, &'static str) {
        match self {
            Error::RequestMalformed(_) => (400, "request.malformed"),
            Error::RequestFraming(_) => (400, "request.framing"),
            Error::RequestHost(reason) | Error::RequestPath(reason) => (400, reason),
            Error::RequestExpectation => (417, "request.expect"),
            Error::RequestMethod => (501, "request.method"),
            Error::RequestProtocol => (501, "request.protocol"),
            Error::RequestVersion => (505, "request.version"),
            Error::TooManyHeaders => (431, "limits.headers"),
            Error::HeadTooLarge => (431, "limits.header_bytes"),
            Error::TargetTooLong => (414, "limits.target_bytes"),
            Error::BodyTooLarge => (413, "limits.body"),
            Error::RequestCoding => (400, "request.coding"),
            Error::GrpcWebText => (400, "grpc_web.text"),
            Error::RequestHeaderTimeout => (408, "timeouts.request_header"),
            Error::RequestBodyTimeout => (408, "timeouts.request_body"),
            Error::ClientClosed => (499, "client.closed"),
            Error::ResponseWriteTimeout => (499, "timeouts.response_write"),
            Error::RateLimit => (429, "rate_limit"),
            Error::RateLimitStore => (503, "rate_limit.store"),
            Error::Concurrent => (429, "concurrent"),
            Error::NoRoute => (404, "route.none"),
            Error::Address(reason) | Error::Forbidden(reason) => (403, reason),
            Error::Unauthenticated(reason) => (401, reason),
            Error::AuthUnavailable(reason) => (503, reason),
            Error::PoolFull => (503, "pool.max_pending"),
            Error::AcquireTimeout => (503, "pool.acquire_timeout"),
            Error::MaxConcurrent => (503, "max_concurrent"),
            Error::BreakerOpen => (503, "upstream.breaker"),
            Error::Unresolved => (503, "upstream.dns"),
            Error::ConnectFailed => (503, "upstream.connect"),
            Error::ConnectTimeout => (503, "timeouts.connect"),
            Error::TlsFailed => (502, "upstream.tls"),
            Error::NotHttp2 => (502, "upstream.protocol"),
            Error::UpstreamClosed => (502, "upstream.closed"),
            Error::UpstreamReset => (502, "upstream.reset"),
            Error::UpstreamRefused => (503, "upstream.refused"),
            Error::ResponseMalformed(_) => (502, "upstream.malformed"),
            Error::ResponseFraming(_) => (502, "upstream.framing"),
            Error::ResponseTruncated => (502, "upstream.truncated"),
            Error::ResponseCoding => (502, "upstream.coding"),
            Error::ResponseTooLarge => (502, "upstream.body"),
            Error::UpgradeUnsupported | Error::UnexpectedUpgrade | Error::MissingUpgrade => {
                (502, "upstream.upgrade")
            }
            Error::ResponseHeaderTimeout => (504, "timeouts.response_header"),
            Error::IdleTimeout => (504, "timeouts.idle"),
            Error::PerTryTimeout => (504, "timeouts.per_try"),
            Error::RequestTimeout => (504, "timeouts.request"),
            Error::GrpcTimeout => (504, "grpc.timeout"),
            Error::Filter(failure) => (failure.status, failure.reason),
            Error::RouteFilters => (500, "route.filters"),
            Error::RoutePolicies => (500, "route.policies"),
            Error::RouteValue => (400, "route.value"),
            // Never sent, because the filter's own response is.
            Error::FilterAnswered => (500, "filter.answered"),
            Error::FilterClosed => (499, "filter.closed"),
            Error::ShuttingDown => (503, "shutdown.drain"),
            Error::RouteRemoved => (503, "shutdown.drain_removed_routes"),
            Error::Internal => (500, "internal"),
        }
    }

    /// Returns the status code of the response.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.parts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the stable, machine-readable reason: the value of `x-gateway-error`, and the label in metrics.
    pub(crate) fn reason(self) -> &'static str {
        self.parts().1
    }

    /// Returns true if the client's connection must close, because the bytes that follow on it can no longer be interpreted.
    pub(crate) fn closes_connection(self) -> bool {
        matches!(
            self,
            Error::RequestMalformed(_)
                | Error::RequestFraming(_)
                | Error::RequestVersion
                | Error::TooManyHeaders
                | Error::HeadTooLarge
                | Error::TargetTooLong
                | Error::BodyTooLarge
                | Error::RequestHeaderTimeout
                | Error::RequestBodyTimeout
                | Error::ClientClosed
                | Error::ResponseWriteTimeout
                | Error::FilterClosed
        )
    }

    /// Returns true if the upstream was too slow.
    pub(crate) fn is_upstream_late(self) -> bool {
        matches!(
            self,
            Error::ResponseHeaderTimeout
                | Error::PerTryTimeout
                | Error::RequestTimeout
                | Error::GrpcTimeout
                | Error::IdleTimeout
        )
    }

    /// Returns true if the upstream has failed: it could not be reached, or sent no response, or not all of one, or not in time.
    pub(crate) fn is_of_upstream(self) -> bool {
        matches!(
            self,
            Error::Unresolved
                | Error::ConnectFailed
                | Error::ConnectTimeout
                | Error::TlsFailed
                | Error::NotHttp2
                | Error::UpstreamReset
                | Error::UpstreamRefused
                | Error::UpstreamClosed
                | Error::ResponseMalformed(_)
                | Error::ResponseFraming(_)
                | Error::ResponseTruncated
                | Error::ResponseHeaderTimeout
                | Error::IdleTimeout
                | Error::PerTryTimeout
                | Error::RequestTimeout
        )
    }

    /// Returns true if no response is sent. The status does not show this, because an upstream may respond with 499.
    pub(crate) fn is_unsent(self) -> bool {
        matches!(self, Error::ClientClosed | Error::ResponseWriteTimeout | Error::FilterClosed)
    }

    /// Returns true if an operator should see the failure: a limit that rejects, or a fault behind the gateway.
    pub(crate) fn is_worth_a_warning(self) -> bool {
        let is_limit =
            ["limits.", "timeouts.", "pool."].iter().any(|section| self.reason().starts_with(section));
        let is_clients = matches!(
            self,
            Error::RequestMethod | Error::RequestProtocol | Error::RequestVersion | Error::GrpcTimeout
        );
        is_limit || (self.status().is_server_error() && !is_clients)
    }

    /// Returns true if the client's side caused the failure, or a filter between the client and the upstream. The
    /// upstream connection is not to blame then.
    pub(crate) fn is_client_side(self) -> bool {
        self.closes_connection()
            || matches!(
                self,
                Error::RequestHost(_)
                    | Error::RequestPath(_)
                    | Error::RequestExpectation
                    | Error::RequestCoding
                    | Error::GrpcWebText
                    | Error::GrpcTimeout
                    | Error::Filter(_)
                    | Error::FilterAnswered
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_status() {
        for (error, status, reason) in [
            (Error::RequestFraming(FramingError::LengthAndEncoding), 400, "request.framing"),
            (Error::RequestHeaderTimeout, 408, "timeouts.request_header"),
            (Error::BodyTooLarge, 413, "limits.body"),
            (Error::RequestCoding, 400, "request.coding"),
            (Error::GrpcWebText, 400, "grpc_web.text"),
            (Error::TargetTooLong, 414, "limits.target_bytes"),
            (Error::HeadTooLarge, 431, "limits.header_bytes"),
            (Error::ConnectFailed, 503, "upstream.connect"),
            (Error::AcquireTimeout, 503, "pool.acquire_timeout"),
            (Error::UpstreamClosed, 502, "upstream.closed"),
            (Error::ResponseCoding, 502, "upstream.coding"),
            (Error::ResponseHeaderTimeout, 504, "timeouts.response_header"),
            (Error::GrpcTimeout, 504, "grpc.timeout"),
        ] {
            assert_eq!((error.status().as_u16(), error.reason()), (status, reason), "{error:?}");
            assert!(
                include_str!("../../README.md").contains(&format!("`{reason}`")),
                "README lacks {reason}"
            );
        }
    }
}
