//! The other side of a client's connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A client, by its address. One on a Unix socket has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Inet(SocketAddr),
    Unix,
}

impl Peer {
    /// Returns IP address and port.
    pub(crate) fn inet(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Unix => None,
        }
    }

    /// Returns the IP address.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip())
    }

    /// Converts an IPv4 address in its IPv6 form into its own form.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Inet(address) => Self::Inet(SocketAddr::new(address.ip().to_canonical(), address.port())),
            Self::Unix => Self::Unix,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            // As in nginx.
            Self::Unix => f.write_str("unix:"),
        }
    }
}
