//! The gateway's own behaviour for a route: rewriting paths, responding, redirecting, editing header fields, translating gRPC-Web. Each
//! behaviour has its own file and is built once from the parsed values of the configuration.

mod grpc_web;
mod headers;
#[cfg(test)]
mod probe;
mod redirect;
mod respond;
mod reverse;
mod rewrite;

pub(crate) use grpc_web::GrpcWeb;
pub(crate) use headers::Headers;
#[cfg(test)]
pub(crate) use probe::Probe;
pub(crate) use redirect::Redirect;
pub(crate) use respond::Respond;
pub(crate) use reverse::Reverse;
pub(crate) use rewrite::Rewrite;
