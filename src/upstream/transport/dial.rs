//! Opening a connection: TCP, then TLS if the endpoint uses it, within `timeouts.connect`.

use std::io;
use std::pin::pin;
use std::time::Duration;

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::error::Error;
use crate::net::clock;
use crate::net::end_of_turn;
use crate::net::keepalive::set_keepalive;
use crate::net::stream::{Socket, Stream};
use crate::net::timer::{Timer, deadline};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Lease, Slot};
use crate::upstream::transport::Transport;

/// Opens a connection to `endpoint` in the given slot.
///
/// # Errors
/// Returns [`Error::ConnectFailed`], [`Error::TlsFailed`] or [`Error::ConnectTimeout`], and frees the slot.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    slot: Slot,
    timeout: Option<Duration>,
    timer: &Timer,
) -> Result<(Transport, Lease), Error> {
    let opened = timer.within(deadline(timeout), pin!(open(endpoint))).await;
    match opened.unwrap_or(Err(Error::ConnectTimeout)) {
        Ok(stream) => Ok(adopt(slot, stream)),
        Err(error) => {
            if error == Error::ConnectTimeout {
                endpoint.warn_failure(&error); // the other errors were logged with more detail
            }
            slot.failed();
            Err(error)
        }
    }
}

/// Returns the first lease of a connection that was opened in the given slot.
pub(crate) fn adopt(mut slot: Slot, stream: Stream) -> (Transport, Lease) {
    slot.opened();
    (Transport::new(stream), Lease::first(slot))
}

async fn open(endpoint: &Endpoint) -> Result<Stream, Error> {
    end_of_turn::end().await;
    let connected = TcpStream::connect(endpoint.address()).await;
    clock::advance();
    let socket = connected.map_err(|error| {
        endpoint.warn_failure(&reason(&error));
        Error::ConnectFailed
    })?;
    set_keepalive(&SockRef::from(&socket), endpoint.pool().settings().tcp_keepalive);
    match endpoint.tls() {
        None => Ok(Stream::plain(socket)),
        Some((connector, name)) => handshake(endpoint, connector, name.clone(), socket).await,
    }
}

/// Returns the reason why no connection could be opened. Some reasons lie with this machine and not with the upstream.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "the open file limit of the process is reached; raise it (LimitNOFILE, ulimit -n)".to_owned()
        }
        Some(Errno::NFILE) => {
            "the open file limit of the machine is reached; raise it (fs.file-max)".to_owned()
        }
        Some(Errno::ADDRNOTAVAIL) => {
            "no local port is free for this address; keep more connections (`pool.max_idle`) or widen \
             net.ipv4.ip_local_port_range"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

async fn handshake(
    endpoint: &Endpoint,
    connector: &TlsConnector,
    name: ServerName<'static>,
    socket: TcpStream,
) -> Result<Stream, Error> {
    let connecting = connector.connect(name, Socket::new(socket));
    let stream = connecting.await.map_err(|error| {
        endpoint.warn_tls_failure(&error);
        Error::TlsFailed
    })?;
    let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    endpoint.pool().count_handshake(resumed);
    Ok(Stream::Tls(Box::new(stream.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_and_ports_is_not_said_to_be_the_upstreams() {
        for (errno, said) in [
            (Errno::MFILE, "open file limit of the process"),
            (Errno::NFILE, "open file limit of the machine"),
            (Errno::ADDRNOTAVAIL, "no local port is free"),
            (Errno::CONNREFUSED, "Connection refused"),
        ] {
            let reason = reason(&io::Error::from_raw_os_error(errno.raw_os_error()));
            assert!(reason.contains(said), "{reason}");
        }
    }
}
