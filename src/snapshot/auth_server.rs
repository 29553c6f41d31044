//! The upstream that a way of `forward` asks.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::{HeaderCase, RouteTimeouts};
use crate::http::error::Error;
use crate::http::message::Response;
use crate::net::timer::deadline;
use crate::policy::auth::{Asked, AuthServer, BODY_BYTES_MAX, Question};
use crate::upstream::{CallLimits, OwnRequest, OwnResponse, Upstream, call_and_read};

/// An upstream that decides about requests, with its settings outside of any route.
pub(crate) struct AuthUpstream {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) timeouts: RouteTimeouts,
    pub(crate) keep_alive: bool,
    pub(crate) header_case: HeaderCase,
}

impl AuthUpstream {
    async fn answer(&self, question: Question) -> Result<Response<Bytes>, Error> {
        let Question { method, target, headers, timeout } = question;
        // The configuration has checked method and target.
        let request = OwnRequest::new(method, target, headers, Bytes::new()).ok_or(Error::Internal)?;
        let limits = CallLimits {
            timeouts: &self.timeouts,
            done_by: deadline(Some(timeout)),
            body_bytes_max: BODY_BYTES_MAX,
            keep_alive: self.keep_alive,
            header_case: self.header_case,
        };
        let is_read = |status: http::StatusCode| !status.is_success();
        let OwnResponse { status, headers, body, .. } =
            call_and_read(&self.upstream, &request, limits, is_read).await?;
        Ok(Response { status, headers, body })
    }
}

impl AuthServer for AuthUpstream {
    fn ask(&self, question: Question) -> Asked<'_> {
        Box::pin(self.answer(question))
    }

    fn is_same(&self, other: &dyn AuthServer) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            Arc::ptr_eq(&self.upstream, &other.upstream)
                && self.timeouts == other.timeouts
                && self.keep_alive == other.keep_alive
                && self.header_case == other.header_case
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
