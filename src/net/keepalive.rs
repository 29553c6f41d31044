//! Keepalive probes of TCP on a socket.

use socket2::{SockRef, TcpKeepalive};

use crate::config::KeepaliveSettings;

/// Sets the probes of a socket, or none. Accepted connections inherit them from a listening socket.
pub(crate) fn set_keepalive(socket: &SockRef<'_>, keepalive: Option<KeepaliveSettings>) {
    let set = match keepalive {
        None => socket.set_keepalive(false),
        Some(KeepaliveSettings { idle, interval, probes }) => socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes),
        ),
    };
    if let Err(error) = set {
        // The peer may have gone meanwhile, and a connection without probes works, too.
        tracing::debug!("keepalive could not be set: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_connection_inherits_the_probes_of_the_socket_that_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings =
            KeepaliveSettings { idle: Duration::from_secs(7), interval: Duration::from_secs(3), probes: 2 };
        for keepalive in [Some(settings), None, Some(settings)] {
            set_keepalive(&SockRef::from(&listener), keepalive);
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let socket = SockRef::from(&accepted);
            assert_eq!(socket.keepalive().unwrap(), keepalive.is_some());
            if keepalive.is_some() {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), settings.idle);
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), settings.interval);
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), settings.probes);
            }
        }
    }
}
