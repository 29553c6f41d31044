//! Upstreams that a run without a gateway plays for the calls of a filter.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};

use crate::filter::proxy_wasm::host::{CallResponse, OutgoingCall};
use crate::http::fields::Fields;
use crate::http::forward;

/// Upstreams by name, each with the answers that it gives.
#[derive(Debug, Default)]
pub(crate) struct PlayedUpstreams(Mutex<BTreeMap<String, Played>>);

#[derive(Debug, Default)]
struct Played {
    /// In their order. The last one stays, for all further calls.
    answers: VecDeque<PlayedAnswer>,
    is_called: bool,
}

/// One answer of a played upstream.
#[derive(Debug, Clone)]
pub(crate) enum PlayedAnswer {
    Response(Response<Bytes>),
    /// There is no response: no connection, or a broken one.
    Fail,
    /// There is no response in the time that the filter has given.
    Timeout,
}

/// A call of a filter to an upstream, and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamCall {
    pub(crate) upstream: String,
    /// Method and target.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
    pub(crate) outcome: CallOutcome,
}

/// What a played upstream makes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    Answered {
        status: StatusCode,
        fields: usize,
        bytes: usize,
    },
    Failed,
    TimedOut,
    /// The body of the response is longer than `limits.body`, so that the call fails.
    TooLong {
        bytes: usize,
        max: usize,
    },
    /// No upstream of this name is played, so that the call fails.
    NotPlayed,
}

/// The answer to one call, for the guest.
pub(crate) struct PlayedCall {
    pub(crate) outcome: CallOutcome,
    /// When the guest has it.
    pub(crate) after: Duration,
    pub(crate) response: CallResponse,
}

impl PlayedUpstreams {
    /// Adds an answer behind those that an upstream of this name has.
    pub(crate) fn add(&mut self, upstream: &str, answer: PlayedAnswer) {
        let all = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        all.entry(upstream.to_owned()).or_default().answers.push_back(answer);
    }

    /// Returns the names of those that were not called.
    pub(crate) fn idle(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, played)| !played.is_called).map(|(name, _)| name.clone()).collect()
    }

    /// Answers a call. A response with a longer body than `body_bytes_max` fails, as in a gateway.
    pub(crate) fn answer(&self, call: &OutgoingCall, body_bytes_max: usize) -> PlayedCall {
        let without = |outcome, after| PlayedCall { outcome, after, response: CallResponse::default() };
        match self.next(&call.upstream) {
            None => without(CallOutcome::NotPlayed, Duration::ZERO),
            Some(PlayedAnswer::Fail) => without(CallOutcome::Failed, Duration::ZERO),
            Some(PlayedAnswer::Timeout) => without(CallOutcome::TimedOut, call.timeout),
            Some(PlayedAnswer::Response(response)) => {
                let bytes = response.body().len();
                if bytes > body_bytes_max {
                    return without(CallOutcome::TooLong { bytes, max: body_bytes_max }, Duration::ZERO);
                }
                let response = received(response, call.request.method());
                let outcome = CallOutcome::Answered {
                    status: response.status.unwrap_or_default(),
                    fields: response.headers.len(),
                    bytes: response.body.len(),
                };
                PlayedCall { outcome, after: Duration::ZERO, response }
            }
        }
    }

    fn next(&self, upstream: &str) -> Option<PlayedAnswer> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Played { answers, is_called } = all.get_mut(upstream)?;
        *is_called = true;
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    }
}

/// Returns a response as a guest gets it from an upstream that sends it.
fn received(response: Response<Bytes>, method: &Method) -> CallResponse {
    let (parts, mut body) = response.into_parts();
    let mut headers = Fields::from(parts.headers);
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    forward::remove_hop_by_hop(&mut headers);
    if *method == Method::HEAD {
        body.clear();
    } else if !is_chunked && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    CallResponse { status: Some(parts.status), headers, body, trailers: Fields::new() }
}
