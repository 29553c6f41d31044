//! Upstreams: endpoints, their pools and their connections.

mod attempt;
mod balance;
mod call;
mod connect;
mod connection;
mod endpoint;
mod exchange;
mod idle;
mod origin;
mod pool;
mod queue;
mod targets;
pub(crate) mod transport;

pub(crate) use attempt::{Attempt, Failure, FailureKind, Progress};
pub(crate) use call::{CallLimits, OwnRequest, OwnResponse, call};
#[cfg(feature = "bench-internals")]
pub(crate) use connect::adopt;
pub(crate) use connect::dial;
pub(crate) use endpoint::{Endpoint, Upstream};
pub(crate) use exchange::{Received, Upgraded};
pub(crate) use idle::{close_all as close_idle_connections, keep as keep_idle_connections};
#[cfg(feature = "bench-internals")]
pub(crate) use pool::{Acquired, Patience, Wanted};
pub(crate) use pool::{Letters, Mailboxes, mailbox};
pub(crate) use targets::{Target, Targets, watch_names};
