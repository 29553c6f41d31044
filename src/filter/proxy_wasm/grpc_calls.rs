//! gRPC calls of a guest to upstreams: a message and its reply, or a stream of messages in both directions.

use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::task::AbortHandle;

use super::calls::Held;
use crate::filter::FilterContext;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::grpc::{self, Status};
use crate::upstream::{OwnRequest, UploadQueue};

/// The messages of a stream that are not sent yet. Each counts as produced by the guest until it is.
pub(super) type Messages = UploadQueue<Held>;

/// A call that is about to begin.
pub(crate) struct OutgoingGrpcCall {
    pub(super) token: u32,
    pub(super) upstream: String,
    /// The request. Its body is the message of a unary call, and empty for a stream.
    pub(super) request: OwnRequest,
    pub(super) kind: Kind,
    /// The bytes of the request, which count for as long as the call lasts.
    pub(super) _held: Held,
}

pub(super) enum Kind {
    /// One message, one reply, within a time.
    Unary(Duration),
    Stream(Messages),
}

/// A call that the guest can refer to by its token. Dropping it cancels the call.
pub(super) struct GrpcCall {
    /// The context that made the call. The call ends with it.
    pub(super) context: u32,
    /// The messages of a stream; `None` for a unary call.
    pub(super) messages: Option<Messages>,
    pub(super) waiting: Option<Waiting>,
    /// The task of the call, once it has begun.
    pub(super) task: Option<AbortHandle>,
}

impl Drop for GrpcCall {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// An exchange that counts a call among those in progress.
pub(super) struct Waiting(Weak<FilterContext>);

impl Waiting {
    pub(super) fn new(filter_context: &Rc<FilterContext>) -> Self {
        filter_context.call_begins();
        Self(Rc::downgrade(filter_context))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(filter_context) = self.0.upgrade() {
            filter_context.call_ends();
        }
    }
}

/// The part of a reply that the running callback delivers.
pub(super) enum GrpcEvent {
    InitialMetadata(StatusCode, Fields),
    Message(Bytes),
    TrailingMetadata(Fields),
    Close,
}

/// The end of a call.
pub(super) struct End {
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) trailers: Fields,
    /// The reply of a unary call that succeeded.
    pub(super) reply: Option<Bytes>,
}

impl End {
    pub(super) fn failed(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), trailers: Fields::new(), reply: None }
    }

    /// Returns the end by the status in trailers, or in a head that stands for them.
    pub(super) fn of_trailers(trailers: Fields) -> Self {
        let Some(status) = trailers.get(grpc::GRPC_STATUS) else {
            return Self { trailers, ..Self::failed(Status::UNKNOWN, "the response has no grpc-status") };
        };
        let status = Status::parse(status).map_or(Status::UNKNOWN, Status::known);
        let message = trailers.get(grpc::GRPC_MESSAGE).map(grpc::message_text).unwrap_or_default();
        Self { trailers, ..Self::failed(status, message) }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::failed(error.into(), format!("{}: {error}", error.reason()))
    }
}
