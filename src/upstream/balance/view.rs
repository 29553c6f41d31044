//! The endpoints that a balancer may choose from.

use std::sync::Arc;
use std::time::Duration;

use super::shares::Shares;
use crate::net::clock;
use crate::upstream::endpoint::Endpoint;

/// The draws until an open endpoint is searched in order.
const DRAWS: usize = 3;

/// The endpoints from which a balancer chooses.
pub(in crate::upstream) struct View<'a> {
    pub(in crate::upstream) endpoints: &'a [Arc<Endpoint>],
    /// The position of the first of them among all endpoints of the upstream.
    pub(in crate::upstream) offset: usize,
    /// The position of the one that the request tried first.
    pub(in crate::upstream) first: Option<usize>,
    /// The positions of the endpoints that it tried after that one.
    pub(in crate::upstream) others: &'a [usize],
    /// Present if health matters: some endpoint is unhealthy, and not too many are.
    pub(in crate::upstream) checked_at: Option<Duration>,
    /// True if those that are coming back are open whatever their shares are.
    pub(in crate::upstream) is_lenient: bool,
}

impl View<'_> {
    /// Returns true if this is the request's first choice.
    pub(super) fn is_first(&self) -> bool {
        self.first.is_none()
    }

    /// Returns true if the request may go to this endpoint. One that is coming back is open by chance, as its share says.
    pub(super) fn is_open(&self, index: usize) -> bool {
        let position = self.offset + index;
        if self.first == Some(position) || self.others.contains(&position) {
            return false;
        }
        let Some(now) = self.checked_at else { return true };
        let share = self.endpoints.get(index).map_or(0.0, |endpoint| endpoint.standing().share(now));
        share >= 1.0 || (share > 0.0 && (self.is_lenient || fastrand::f64() < share))
    }

    /// Returns true if the request may stay at this endpoint: it has not tried it, and it gets requests, be they few.
    pub(super) fn may_hold(&self, index: usize) -> bool {
        let serves =
            |endpoint: &Arc<Endpoint>| self.checked_at.is_none_or(|now| endpoint.standing().share(now) > 0.0);
        self.is_first() && self.endpoints.get(index).is_some_and(serves)
    }

    /// Draws an open endpoint by weight.
    pub(super) fn draw(&self, shares: &Shares) -> Option<usize> {
        let mut draws = (0..DRAWS).filter_map(|_| shares.draw());
        draws.find(|index| self.is_open(*index)).or_else(|| self.search(|index| self.is_open(index)))
    }

    /// Returns the requests that an endpoint counts as having beside its own because it is coming back: nine at a tenth of its share.
    pub(super) fn handicap(&self, index: usize) -> f64 {
        let Some(now) = self.checked_at.filter(|_| !self.is_lenient) else { return 0.0 };
        let share = self.endpoints.get(index).map_or(1.0, |endpoint| endpoint.standing().share(now));
        if share > 0.0 { 1.0 / share - 1.0 } else { f64::INFINITY }
    }

    /// Returns true if the request has not tried this endpoint, and it gets requests, be they few.
    pub(super) fn may_compare(&self, index: usize) -> bool {
        let position = self.offset + index;
        let is_tried = self.first == Some(position) || self.others.contains(&position);
        !is_tried && self.handicap(index).is_finite()
    }

    /// Draws an endpoint other than `first` to compare with it.
    pub(super) fn draw_other(&self, shares: &Shares, first: usize) -> Option<usize> {
        if self.endpoints.len() < 2 {
            return None;
        }
        let is_wanted = |index: usize| index != first && self.may_compare(index);
        let mut draws = (0..DRAWS).filter_map(|_| shares.draw());
        draws.find(|index| is_wanted(*index)).or_else(|| self.search(is_wanted))
    }

    fn search(&self, is_wanted: impl Fn(usize) -> bool) -> Option<usize> {
        self.anywhere().find(|index| is_wanted(*index))
    }

    /// Returns all endpoints, beginning with any of them.
    pub(super) fn anywhere(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.endpoints.len();
        let start = if count > 1 { fastrand::usize(..count) } else { 0 };
        (start..count).chain(0..start)
    }

    /// Returns the requests that are under way at an endpoint, or wait for it.
    pub(super) fn load(&self, index: usize) -> usize {
        self.endpoints.get(index).map_or(0, |endpoint| endpoint.pool().load())
    }

    /// Returns the time in which an endpoint begins a response, in nanoseconds.
    pub(super) fn latency(&self, index: usize) -> f64 {
        // Of the present event, as the observations are.
        self.endpoints.get(index).map_or(0.0, |endpoint| endpoint.latency().expected(clock::uptime()))
    }
}
