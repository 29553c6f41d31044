//! Simulated upstreams for the calls of a filter in a run without a gateway.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};

use crate::filter::proxy_wasm::calls::{CallResponse, OutgoingCall};
use crate::http::fields::Fields;
use crate::http::forward;

/// Upstreams by name, each with the responses that it gives.
#[derive(Debug, Default)]
pub(crate) struct PlayedUpstreams(Mutex<BTreeMap<String, Played>>);

#[derive(Debug, Default)]
struct Played {
    /// The responses in order. The last one is reused for all further calls.
    answers: VecDeque<PlayedAnswer>,
    is_called: bool,
}

/// One response of a simulated upstream.
#[derive(Debug, Clone)]
pub(crate) enum PlayedAnswer {
    Response(Response<Bytes>),
    /// No response: the connection fails or breaks.
    Fail,
    /// No response within the time that the filter has set.
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

/// The outcome of a call to a simulated upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    Answered {
        status: StatusCode,
        fields: usize,
        bytes: usize,
    },
    Failed,
    TimedOut,
    /// The body of the response exceeds `limits.body`, so the call fails.
    TooLong {
        bytes: usize,
        max: usize,
    },
    /// No upstream of this name is simulated, so the call fails.
    NotPlayed,
}

/// The response to one call, for the guest.
pub(crate) struct PlayedCall {
    pub(crate) outcome: CallOutcome,
    /// The delay after which the guest gets the response.
    pub(crate) after: Duration,
    pub(crate) response: CallResponse,
}

impl PlayedUpstreams {
    /// Adds a response behind those that the upstream of this name has.
    pub(crate) fn add(&mut self, upstream: &str, answer: PlayedAnswer) {
        let all = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        all.entry(upstream.to_owned()).or_default().answers.push_back(answer);
    }

    /// Returns the names of upstreams that were not called.
    pub(crate) fn idle(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, played)| !played.is_called).map(|(name, _)| name.clone()).collect()
    }

    /// Responds to a call. A response with a body longer than `body_bytes_max` fails, as in a gateway.
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

/// Converts a response into what a guest receives when an upstream sends it.
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
