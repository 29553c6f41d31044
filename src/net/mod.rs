//! The ground floor of the data plane: sockets, TLS, timers, and the event loop of a worker.

pub(crate) mod clock;
pub(crate) mod drain;
pub(crate) mod end_of_turn;
pub(crate) mod event_loop;
pub(crate) mod keepalive;
pub(crate) mod peer;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod timer;
pub(crate) mod tls;
pub(crate) mod tunnel_end;
pub(crate) mod waker;
