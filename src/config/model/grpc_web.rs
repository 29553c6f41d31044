//! `grpc_web` of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The treatment of gRPC-Web.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GrpcWeb {
    /// Requests by gRPC-Web, in its binary and its text form, become gRPC before the route's filters, and their responses
    /// gRPC-Web behind them. Other requests pass as they are.
    On,
    /// They are forwarded as they are, to an upstream that speaks gRPC-Web itself.
    #[default]
    Off,
}
