//! Upstreams: endpoints, their pools and their connections.
