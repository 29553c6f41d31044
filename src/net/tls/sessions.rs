//! TLS sessions to resume on upstream connections.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// The number of TLS 1.3 tickets kept for one server. Each serves one connection (RFC 8446 §C.4), so this is the number
/// of connections made at once that all resume. rustls's own memory keeps 8, and a burst would do full handshakes. The
/// number equals the default size of a pool.
const TICKETS_PER_SERVER_MAX: usize = 256;

/// The number of servers remembered; the one first met is forgotten first. One configuration serves one upstream, whose
/// endpoints rarely have more than a few names.
const SERVERS_MAX: usize = 64;

/// The sessions of one client configuration, in memory, for all workers.
///
/// A handshake takes the lock a few times, and costs a thousand times more itself.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Servers>);

#[derive(Default)]
struct Servers {
    by_name: HashMap<ServerName<'static>, Server>,
    by_age: VecDeque<ServerName<'static>>,
}

#[derive(Default)]
struct Server {
    key_exchange: Option<NamedGroup>,
    /// The TLS 1.2 session, which serves any number of connections.
    tls12: Option<Tls12ClientSessionValue>,
    /// The tickets, oldest first. The newest is taken first, so that tickets that the server no longer accepts sink and drop out.
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Servers> {
        // Every change is complete in itself, so the state after a panic is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Servers {
    fn entry(&mut self, name: ServerName<'static>) -> &mut Server {
        if !self.by_name.contains_key(&name) {
            if self.by_age.len() >= SERVERS_MAX
                && let Some(oldest) = self.by_age.pop_front()
            {
                self.by_name.remove(&oldest);
            }
            self.by_age.push_back(name.clone());
        }
        self.by_name.entry(name).or_default()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.lock().entry(name).key_exchange = Some(group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().by_name.get(name)?.key_exchange
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.lock().entry(name).tls12 = Some(session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().by_name.get(name)?.tls12.clone()
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        if let Some(server) = self.lock().by_name.get_mut(name) {
            server.tls12 = None;
        }
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut servers = self.lock();
        let tickets = &mut servers.entry(name).tickets;
        if tickets.len() >= TICKETS_PER_SERVER_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().by_name.get_mut(name)?.tickets.pop_back()
    }
}

// Sessions are secrets, so none of them is shown.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
