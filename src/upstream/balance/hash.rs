//! The same endpoint for the same key, by rendezvous hashing: each pair of key and endpoint has a score, and the highest one wins.
//!
//! If an endpoint goes, its keys move to their second choices, and no other key moves; one that comes takes its share from all. This
//! is exact, also for endpoints that are unhealthy for a while, and needs no table. It costs a look at each endpoint.

use std::sync::Arc;

use super::shares::Shares;
use super::view::View;
use crate::upstream::endpoint::Endpoint;

/// The identities of the endpoints: equal in each process and after each reload, in whatever order they are listed.
pub(super) struct Hash {
    identities: Vec<u64>,
}

impl Hash {
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        Self { identities: endpoints.iter().map(|endpoint| endpoint.identity()).collect() }
    }

    pub(super) fn choose(&self, view: &View<'_>, shares: &Shares, hash: u64) -> Option<usize> {
        let open = self.identities.iter().enumerate().filter(|(index, _)| view.is_open(*index));
        let scored = open.map(|(index, identity)| (index, mix(hash ^ identity)));
        if shares.is_equal() {
            return scored.max_by_key(|(_, score)| *score).map(|(index, _)| index);
        }
        let scored = scored.map(|(index, score)| (index, weighted(score, shares.relative(index))));
        scored.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

/// Returns a score of which the highest belongs to each endpoint as often as its weight says.
fn weighted(score: u64, weight: f64) -> f64 {
    // Between 0 and 1, and neither of them.
    let uniform = ((score >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -weight / uniform.ln()
}

/// Mixes all bits into each other (the finaliser of SplitMix64).
fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
