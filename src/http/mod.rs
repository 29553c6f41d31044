//! HTTP as messages: fields, bodies, errors, paths, the rules of forwarding, gRPC, and the engines of HTTP/1 and HTTP/2.

pub(crate) mod base64;
pub(crate) mod body;
pub(crate) mod date;
pub(crate) mod error;
pub(crate) mod error_page;
pub(crate) mod fields;
pub(crate) mod forward;
pub(crate) mod grpc;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod interim;
pub(crate) mod message;
pub(crate) mod parts;
pub(crate) mod path;
pub(crate) mod trace;
