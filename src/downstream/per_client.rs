//! `limits.connections_per_client`: the number of connections that an address has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// The connections by client address. Only connections that arrived while there was a limit are counted.
#[derive(Clone, Default)]
pub(crate) struct PerClient(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// A client's connection, which counts until this is dropped.
pub(crate) struct Counted {
    clients: PerClient,
    client: IpAddr,
}

impl PerClient {
    /// Counts a connection, unless the client has reached the limit. `limit` is the present one: if it was lowered, a
    /// client keeps its connections and gets no more.
    pub(crate) fn admit(&self, client: IpAddr, limit: NonZeroU32) -> Option<Counted> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_insert(0);
        if *count >= limit.get() {
            return None;
        }
        *count += 1;
        Some(Counted { clients: self.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let clients = PerClient::default();
        let [two, three] = [2, 3].map(|limit| NonZeroU32::new(limit).unwrap());
        let [one, other] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let first = clients.admit(one, two).unwrap();
        let _second = clients.admit(one, two).unwrap();
        assert!(clients.admit(one, two).is_none());
        assert!(clients.admit(other, two).is_some());
        assert!(clients.admit(one, three).is_some(), "a limit that was raised holds at once");
        drop(first);
        assert!(clients.admit(one, two).is_some());
        assert_eq!(clients.0.lock().unwrap().len(), 1, "clients that left leave nothing behind");
    }
}
