//! The reports of the API, as far as tables show them.

use serde::Deserialize;

/// A pool of `/api/pools`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Pool {
    pub(crate) pool: String,
    pub(crate) endpoint: String,
    pub(crate) address: String,
    pub(crate) draining: bool,
    pub(crate) health: String,
    pub(crate) breaker: Option<String>,
    pub(crate) idle: u64,
    pub(crate) active: u64,
    pub(crate) connecting: u64,
    pub(crate) pending: u64,
    pub(crate) max_connections: u64,
    pub(crate) acquired: u64,
    pub(crate) reused: u64,
    pub(crate) recent: Option<PoolRecent>,
}

/// The last minutes of a pool.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PoolRecent {
    pub(crate) rate: f64,
    pub(crate) reuse_share: Option<f64>,
    pub(crate) acquire_p99_seconds: Option<f64>,
    pub(crate) max_connections_reached_share: f64,
    pub(crate) max_concurrent_reached_share: f64,
}

/// A route of `/api/routes`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Route {
    pub(crate) name: String,
    #[serde(rename = "match")]
    pub(crate) matches: String,
    pub(crate) in_flight: u64,
    pub(crate) recent: RouteRecent,
    pub(crate) last_used: Option<f64>,
}

/// The last minute of a route.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RouteRecent {
    pub(crate) rate: f64,
    pub(crate) error_share: Option<f64>,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
}

/// An address of `/api/kernel`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) pools: Vec<String>,
    pub(crate) kernel: Kernel,
    pub(crate) gateway: OwnCount,
    pub(crate) agrees: bool,
}

/// The kernel's count.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Kernel {
    pub(crate) established: u64,
    pub(crate) connecting: u64,
    pub(crate) close_wait: u64,
    pub(crate) time_wait: u64,
}

/// The pools' count.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct OwnCount {
    pub(crate) idle: u64,
    pub(crate) active: u64,
    pub(crate) connecting: u64,
}

/// The report of `/api/kernel`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct KernelReport {
    pub(crate) error: Option<String>,
    pub(crate) agrees: bool,
    pub(crate) addresses: Vec<Address>,
}

/// An entry of `/api/advice`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Advice {
    pub(crate) pool: String,
    pub(crate) endpoint: String,
    pub(crate) address: String,
    pub(crate) text: String,
}
