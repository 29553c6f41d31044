//! Translation of gRPC-Web, for routes whose upstream speaks gRPC.

use crate::http::body::Body;
use crate::http::fields::Fields;
use crate::http::grpc::Web;
use crate::http::message::Response;

/// The translation of a route: to gRPC on the way in, and back on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrpcWeb;

impl GrpcWeb {
    /// Turns a request by gRPC-Web into one of gRPC.
    pub(crate) fn request(self, web: Web, headers: &mut Fields, body: &mut Body) {
        web.request(headers, body);
    }

    /// Turns its response into one of gRPC-Web.
    pub(crate) fn response(self, web: Web, response: &mut Response<Body>) {
        let Response { status, headers, body } = response;
        let (headers, body) = (std::mem::take(headers), std::mem::take(body));
        *response = web.response(Response { status: *status, headers, body });
    }
}
