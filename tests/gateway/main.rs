//! The one integration binary: a module a topic.

mod answers;
mod forwarding;
mod framing;
mod one_route;
mod routes;
mod streaming;
mod upgrades;
