//! Load balancing: the choice of an endpoint. Each balancer has its own file.
//!
//! A balancer chooses among the endpoints of a [`View`], which are those that a request has not tried and that are healthy. The view
//! knows their health; a balancer only asks whether an endpoint is open.

mod hash;
mod least_request;
mod p2c;
mod round_robin;
mod shares;
#[cfg(test)]
mod tests;
mod view;

use self::hash::Hash;
use self::p2c::P2c;
use self::round_robin::RoundRobin;
pub(super) use self::shares::Shares;
pub(super) use self::view::View;
use super::endpoint::Endpoint;
use super::request::Affinity;
use crate::config::Balance;

/// The choice among the endpoints of an upstream.
pub(super) struct Balancer {
    kind: Kind,
    shares: Shares,
}

enum Kind {
    P2c(P2c),
    RoundRobin(RoundRobin),
    LeastRequest,
    Random,
    Hash(Hash),
}

impl Balancer {
    /// Returns a balancer for endpoints with these weights, each at least 1.
    pub(super) fn new(balance: Balance, endpoints: &[std::sync::Arc<Endpoint>], weights: &[u32]) -> Self {
        let shares = Shares::new(weights);
        let kind = match balance {
            Balance::P2c => Kind::P2c(P2c),
            Balance::RoundRobin => Kind::RoundRobin(RoundRobin::default()),
            Balance::LeastRequest => Kind::LeastRequest,
            Balance::Random => Kind::Random,
            Balance::Hash => Kind::Hash(Hash::new(endpoints)),
        };
        Self { kind, shares }
    }

    /// Returns true if the choice depends on response times.
    pub(super) fn weighs_latency(&self) -> bool {
        matches!(self.kind, Kind::P2c(_))
    }

    /// Chooses one of the open endpoints, if there is any.
    pub(super) fn choose(&self, view: &View<'_>, affinity: Affinity) -> Option<usize> {
        match (&self.kind, affinity) {
            (_, Affinity::Endpoint(held)) if view.may_hold(held) => Some(held),
            (Kind::P2c(p2c), _) => p2c.choose(view, &self.shares),
            (Kind::RoundRobin(round_robin), _) => round_robin.choose(view, &self.shares),
            (Kind::LeastRequest, _) => least_request::choose(view, &self.shares),
            (Kind::Hash(endpoints), Affinity::Hash(hash)) => endpoints.choose(view, &self.shares, hash),
            (Kind::Random | Kind::Hash(_), _) => view.draw(&self.shares),
        }
    }
}
