//! The entry of an exchange in the access log.

use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::ExchangeLog;
use crate::http::error::Error;
use crate::http::grpc;
use crate::observe::access_log;
use crate::proxy::trace::Trace;

impl ExchangeLog {
    /// Writes the line of the exchange, if there is an access log.
    pub(super) fn write_line(&self, status: u16, grpc_status: Option<grpc::Status>, total: Duration) {
        let (Some(line), Some(log)) = (&self.line, &self.telemetry.access_log) else { return };
        let target = line.target.as_ref().map_or("-", PathAndQuery::as_str);
        let identity = self.identity();
        let names = log.capture().claims.iter();
        let claims: Vec<_> = names.map(|claim| identity.and_then(|identity| identity.text(claim))).collect();
        log.write(&access_log::Entry {
            started: line.started,
            client: line.client,
            listener: &self.settings.listener_settings.name,
            method: line.method.as_str(),
            target: target.as_bytes(),
            version: line.version,
            host: line.host.as_ref().map(HeaderValue::as_bytes),
            status,
            grpc_status: grpc_status.map(grpc::Status::number),
            route: self.route.as_ref().map(|route| &*route.name),
            endpoint: line.endpoint.as_deref(),
            reused: line.reused,
            attempts: line.attempts,
            request_bytes: self.received,
            response_bytes: self.sent,
            acquire: line.acquire,
            connect: line.connect,
            first_byte: line.first_byte,
            total,
            error: self.error.map(Error::reason),
            user_agent: line.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: line.referer.as_ref().map(HeaderValue::as_bytes),
            auth: identity.map(|identity| &*identity.way),
            identity: identity.map(|identity| &*identity.subject),
            request_id: self.request_id().map(HeaderValue::as_bytes),
            trace_id: line.trace.as_ref().map(Trace::trace_id),
            span_id: line.trace.as_ref().and_then(|trace| trace.span_id(self.is_failed(grpc_status))),
            request_headers: line.headers.as_ref().map_or(&[], |named| &named.request),
            response_headers: line.headers.as_ref().map_or(&[], |named| &named.response),
            claims: &claims,
        });
    }
}
