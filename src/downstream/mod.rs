//! From a socket to a request: listeners, connections, and the servers of HTTP/1 and HTTP/2.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod connection;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod listener;
mod opening;
pub(crate) mod per_client;
pub(crate) mod permits;
pub(crate) mod proxy_protocol;
pub(crate) mod server_socket;
pub(crate) mod unix_socket;
