//! Interim responses (RFC 9110 §15.2) on their way to a client.

use std::rc::Rc;

use http::StatusCode;

use super::fields::Fields;

/// A sender of interim responses to the client of one request.
#[derive(Clone)]
pub(crate) struct Interim(Rc<dyn InterimSink>);

/// A client connection that can carry interim responses.
pub(crate) trait InterimSink {
    /// Queues an interim response. It is sent with the next write.
    fn send(&self, status: StatusCode, headers: &Fields);
}

impl Interim {
    pub(crate) fn new(connection: Rc<dyn InterimSink>) -> Self {
        Self(connection)
    }

    /// Queues an interim response. It is sent with the next write.
    pub(crate) fn send(&self, status: StatusCode, headers: &Fields) {
        self.0.send(status, headers);
    }
}
