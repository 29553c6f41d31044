//! `/api/kernel`: the connections to upstreams as the kernel counts them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::config::SocketAddress;
use crate::control::kernel_sockets::{KernelCount, KernelCounts, Source};
use crate::observe::metrics::PoolReport;

/// The connections of this process to upstreams, as the kernel counts them and as the pools do.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct KernelReport {
    /// The source of the kernel's counts: `sock_diag`, or `proc` for /proc/net/tcp; null if it shows neither.
    source: Option<&'static str>,
    /// The reason why there are none.
    error: Option<String>,
    /// True if the counts of all addresses agree. What opens or closes at the moment may make a difference; ask again before you
    /// believe in one.
    agrees: bool,
    /// One entry for each address; several pools may have connections to the same one.
    addresses: Vec<AddressReport>,
}

/// The connections to an address.
#[derive(Debug, Serialize, JsonSchema)]
struct AddressReport {
    address: String,
    /// The pools with connections to it.
    pools: Vec<String>,
    kernel: KernelNumbers,
    gateway: GatewayNumbers,
    /// True if the kernel has as many connections open, or being opened, as the pools.
    agrees: bool,
}

/// The kernel's counts by state.
#[derive(Debug, Serialize, JsonSchema)]
struct KernelNumbers {
    established: u64,
    /// SYN sent.
    connecting: u64,
    /// Closed by the server, and not by the gateway yet.
    close_wait: u64,
    /// Closed by the gateway, and not by the server yet. Such connections have no owner: those of other processes count, too.
    closing: u64,
    /// Closed by the gateway, or by another process, within the last minute.
    time_wait: u64,
}

/// The pools' counts.
#[derive(Debug, Default, Clone, Copy, Serialize, JsonSchema)]
struct GatewayNumbers {
    idle: u64,
    active: u64,
    /// Being opened: the connection, or TLS on it.
    connecting: u64,
}

impl GatewayNumbers {
    fn open(self) -> u64 {
        self.idle + self.active + self.connecting
    }
}

/// The pools of an address at one time.
#[derive(Debug, Default)]
struct AtAddress {
    pools: Vec<String>,
    numbers: GatewayNumbers,
}

impl Operators {
    pub(super) fn kernel_report(&self) -> KernelReport {
        let before = self.connections_by_address();
        let addresses: Vec<SocketAddress> = before.keys().filter_map(|text| parse(text)).collect();
        let counts = match KernelCounts::of(&addresses) {
            Ok(counts) => counts,
            Err(error) => {
                let error = Some(error.to_string());
                return KernelReport { source: None, error, agrees: false, addresses: Vec::new() };
            }
        };
        let mut after = self.connections_by_address();
        let reports = before.into_iter().filter_map(|(text, before)| {
            let count = counts.count(&parse(&text)?);
            Some(AddressReport::of(
                text.clone(),
                &count,
                before,
                after.remove(&text).unwrap_or_default().numbers,
            ))
        });
        let addresses: Vec<AddressReport> = reports.collect();
        let source = match counts.source {
            Source::SockDiag => "sock_diag",
            Source::Proc => "proc",
        };
        let agrees = addresses.iter().all(|address| address.agrees);
        KernelReport { source: Some(source), error: None, agrees, addresses }
    }

    fn connections_by_address(&self) -> BTreeMap<String, AtAddress> {
        let mut by_address: BTreeMap<String, AtAddress> = BTreeMap::new();
        for PoolReport { pool, address, idle, active, connecting, .. } in self.all_pools() {
            let at = by_address.entry(address).or_default();
            if !at.pools.contains(&pool) {
                at.pools.push(pool);
            }
            at.numbers.idle += idle;
            at.numbers.active += active;
            at.numbers.connecting += connecting;
        }
        by_address
    }

    /// Returns reports of all pools, those that are left behind among them.
    fn all_pools(&self) -> Vec<PoolReport> {
        let snapshot = &self.status.generation().snapshot;
        [snapshot.pools(), snapshot.draining_pools(), self.old.pools()].concat()
    }
}

impl AddressReport {
    /// Compares the kernel's count with the pools', which were read before and after it.
    fn of(address: String, count: &KernelCount, before: AtAddress, after: GatewayNumbers) -> Self {
        let (from, to) = (before.numbers.open(), after.open());
        Self {
            address,
            pools: before.pools,
            kernel: KernelNumbers {
                established: count.established,
                connecting: count.connecting,
                close_wait: count.close_wait,
                closing: count.closing,
                time_wait: count.time_wait,
            },
            gateway: after,
            agrees: (from.min(to)..=from.max(to)).contains(&count.open()),
        }
    }
}

/// Parses the address of a report.
fn parse(text: &str) -> Option<SocketAddress> {
    let inet = text.parse::<SocketAddr>().ok().map(SocketAddress::Inet);
    inet.or_else(|| text.parse().ok().map(SocketAddress::Unix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_if_the_pools_had_as_many_before_or_after() {
        let at = |idle| AtAddress {
            pools: vec!["users".to_owned()],
            numbers: GatewayNumbers { idle, active: 1, connecting: 1 },
        };
        for (established, before, after, agrees) in
            [(5, 4, 4, true), (5, 3, 3, false), (5, 3, 6, true), (5, 6, 3, true), (9, 3, 6, false)]
        {
            let count = KernelCount { established, connecting: 1, time_wait: 99, ..KernelCount::default() };
            let report = AddressReport::of("10.0.0.1:80".to_owned(), &count, at(before), at(after).numbers);
            assert_eq!(report.agrees, agrees, "{report:?}");
        }
    }

    #[test]
    fn addresses_of_reports_are_parsed() {
        for text in ["10.0.0.1:80", "[::1]:80", "unix:/run/app.sock", "unix:@app"] {
            assert_eq!(parse(text).map(|address| address.to_string()).as_deref(), Some(text));
        }
        assert_eq!(parse(""), None);
    }
}
