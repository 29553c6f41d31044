//! Upstreams: endpoints, their pools and their connections.

pub mod resolve;
