//! Upstreams: endpoints, their pools and their connections.

mod addresses;
mod attempt;
mod attempts;
mod balance;
mod breaker;
mod budget;
mod call;
mod candidates;
mod close_reason;
mod endpoint;
mod endpoints;
mod exchange;
mod health;
mod hedge;
mod latency;
mod origin;
mod outcome;
mod pool;
mod progress;
mod reachability;
mod recent;
mod relay;
mod request;
mod response_times;
mod retry;
mod targets;
mod transport;
mod tunnel;
mod turns;

pub(crate) use attempts::send;
pub(crate) use call::{
    CallLimits, OwnRequest, OwnResponse, UploadQueue, call, call_and_discard, call_and_read, open,
};
pub(crate) use endpoint::Endpoint;
pub(crate) use endpoints::{EndpointSet, Upstream};
pub(crate) use exchange::{Received, Upgraded};
#[cfg(feature = "bench-internals")]
pub(crate) use pool::{Acquired, Lease, NewConnection, Slot, WaitBounds, Wanted};
pub(crate) use pool::{PoolCommands, WorkerChannels, worker_channel};
pub(crate) use progress::Progress;
pub(crate) use relay::guests_left;
pub(crate) use request::{Affinity, SendOptions, UpstreamRequest};
pub(crate) use targets::{Addresses, Name, NamedAddress, Target, Targets, literal};
pub(crate) use turns::Turns;

pub(crate) use crate::upstream::pool::idle::{
    close_all as close_idle_connections, keep as keep_idle_connections,
};
pub(crate) use crate::upstream::transport::dial::dial;
#[cfg(feature = "bench-internals")]
pub(crate) use crate::upstream::transport::{
    Transport,
    dial::{adopt, adopt_shared},
};
