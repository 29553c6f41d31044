//! `limits.connections_per_client`: how many connections an address has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections by client address; only where the limit is set.
#[derive(Clone)]
pub(super) struct PerClient(Arc<State>);

struct State {
    limit: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// A client's connection: it counts until this is dropped.
pub(super) struct Counted {
    clients: PerClient,
    client: IpAddr,
}

impl PerClient {
    pub(super) fn new(limit: u32) -> Self {
        Self(Arc::new(State { limit, open: Mutex::default() }))
    }

    /// Counts a connection, unless the client has as many as it may.
    pub(super) fn admit(&self, client: IpAddr) -> Option<Counted> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_insert(0);
        if *count >= self.0.limit {
            return None;
        }
        *count += 1;
        Some(Counted { clients: self.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.clients.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_have_so_many_and_no_more() {
        let clients = PerClient::new(2);
        let [one, other] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = clients.admit(one).unwrap();
        let _second = clients.admit(one).unwrap();
        assert!(clients.admit(one).is_none());
        assert!(clients.admit(other).is_some());
        drop(first);
        assert!(clients.admit(one).is_some());
        assert_eq!(clients.0.open.lock().unwrap().len(), 1, "clients that left leave nothing behind");
    }
}
