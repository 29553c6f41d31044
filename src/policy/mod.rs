//! The gateway's own behaviour for a route: who may call it and how often, rewriting paths, responding, redirecting, editing header fields, translating
//! gRPC-Web. Each behaviour has its own file and is built once from the parsed values of the configuration.

mod addresses;
pub(crate) mod auth;
mod concurrent;
mod cors;
mod grpc_web;
mod headers;
mod identity;
mod placeholders;
#[cfg(test)]
mod probe;
mod rate_limit;
mod redirect;
mod refusal;
mod request_id;
mod respond;
mod reverse;
mod rewrite;

pub(crate) use addresses::Addresses;
pub(crate) use concurrent::{Concurrent, Permit};
pub(crate) use cors::{Cors, Sharing, preflight_method, preflight_response};
pub(crate) use grpc_web::GrpcWeb;
pub(crate) use headers::Headers;
pub(crate) use identity::Identity;
pub(crate) use placeholders::RequestValues;
#[cfg(test)]
pub(crate) use probe::Probe;
pub(crate) use rate_limit::{
    Caller, Charge, Charged, Gcra, RateLimits, Store, StoreBackend, StoreKey, StoreSource, StoreState,
    Stores, report as report_of_rate_limits,
};
pub(crate) use redirect::Redirect;
pub(crate) use refusal::Refusal;
pub(crate) use request_id::{RequestId, X_REQUEST_ID};
pub(crate) use respond::Respond;
pub(crate) use reverse::Reverse;
pub(crate) use rewrite::Rewrite;
