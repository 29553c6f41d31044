//! Opening a connection: TCP or a Unix socket, then TLS if the endpoint uses it, then the settings of HTTP/2 if that is spoken, all within
//! `timeouts.connect`.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::time::Duration;

use rustix::io::Errno;
use rustls::pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::config::{SocketAddress, UpstreamProtocol};
use crate::http::error::Error;
use crate::net::clock;
use crate::net::end_of_turn;
use crate::net::socket::ConnectedSocket;
use crate::net::stream::{Socket, Stream};
use crate::net::timer::{Timer, deadline};
use crate::net::tls;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Lease, Slot, shared};
use crate::upstream::transport::h2::{self, Driver};
use crate::upstream::transport::{Exclusive, Transport};

/// Opens a connection to `endpoint` in the given slot. With `exclusive` it is one that other exchanges cannot share. The time at which its
/// TLS handshake begins is put into `secured_from`.
///
/// # Errors
/// Returns [`Error::ConnectFailed`], [`Error::TlsFailed`], [`Error::NotHttp2`] or [`Error::ConnectTimeout`], and frees the slot.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    slot: Slot,
    exclusive: bool,
    timeout: Option<Duration>,
    timer: &Timer,
    secured_from: &Cell<Option<Instant>>,
) -> Result<(Transport, Lease), Error> {
    let opened = timer.within(deadline(timeout), pin!(open(endpoint, &slot, exclusive, secured_from))).await;
    let opened = opened.unwrap_or(Err(Error::ConnectTimeout));
    if opened.is_ok() {
        endpoint.note_reached();
    }
    match opened {
        Ok(Opened::Exclusive(stream)) => {
            if !exclusive {
                slot.pool().learn(false);
            }
            Ok(adopt(slot, stream))
        }
        Ok(Opened::Shared(driver)) => Ok(share(slot, driver)),
        Err(error) => {
            if error == Error::ConnectTimeout {
                endpoint.warn_failure(&error); // the other errors were logged with more detail
            }
            slot.failed();
            Err(error)
        }
    }
}

/// Returns the first lease of an exclusive connection that was opened in the given slot.
pub(crate) fn adopt(mut slot: Slot, stream: Stream) -> (Transport, Lease) {
    slot.opened();
    (Transport::Exclusive(Exclusive::new(stream)), Lease::first(slot))
}

/// Returns the first lease of a shared connection that was opened in the given slot.
fn share(slot: Slot, driver: Driver) -> (Transport, Lease) {
    slot.pool().learn(true);
    shared::open(slot, driver)
}

/// Opens a shared connection on a stream whose peer has sent its settings.
#[cfg(feature = "bench-internals")]
pub(crate) async fn adopt_shared(slot: Slot, stream: Stream) -> Option<(Transport, Lease)> {
    h2::open(stream).await.ok().map(|driver| share(slot, driver))
}

/// A new connection, by the protocol that is spoken on it.
enum Opened {
    Exclusive(Stream),
    Shared(Driver),
}

async fn open(
    endpoint: &Endpoint,
    slot: &Slot,
    exclusive: bool,
    secured_from: &Cell<Option<Instant>>,
) -> Result<Opened, Error> {
    let stream = open_stream(endpoint, slot, exclusive, secured_from).await?;
    let is_h2 = match (endpoint.protocol(), &stream) {
        _ if exclusive => false,
        (UpstreamProtocol::H1, _) => false,
        (UpstreamProtocol::H2, Stream::Tls(_)) if stream.alpn() != Some(tls::ALPN_H2) => {
            endpoint.warn_failure(
                &"it does not choose HTTP/2 in the TLS handshake (ALPN), and `protocol` is `h2`",
            );
            return Err(Error::NotHttp2);
        }
        (UpstreamProtocol::H2, _) => true,
        (UpstreamProtocol::Auto, _) => stream.alpn() == Some(tls::ALPN_H2),
    };
    if !is_h2 {
        return Ok(Opened::Exclusive(stream));
    }
    let driver = h2::open(stream).await.map_err(|not_http2| {
        let why = match not_http2.is_closed {
            true => "it closed the connection in place of the settings of HTTP/2",
            false => "it sent something else in place of the settings of HTTP/2",
        };
        endpoint.warn_failure(&why);
        Error::NotHttp2
    })?;
    Ok(Opened::Shared(driver))
}

async fn open_stream(
    endpoint: &Endpoint,
    slot: &Slot,
    exclusive: bool,
    secured_from: &Cell<Option<Instant>>,
) -> Result<Stream, Error> {
    end_of_turn::end().await;
    let connected = ConnectedSocket::connect(endpoint.address()).await;
    clock::advance();
    let socket = connected.map_err(|error| {
        endpoint.warn_failure(&reason(&error, endpoint.address()));
        Error::ConnectFailed
    })?;
    socket.set_keepalive(endpoint.pool().settings().tcp_keepalive);
    match endpoint.tls(exclusive) {
        None => Ok(Stream::plain(socket)),
        Some((connector, name)) => {
            secured_from.set(Some(clock::now()));
            handshake(endpoint, slot, connector, name.clone(), socket).await
        }
    }
}

/// Returns the reason why no connection could be opened. Some reasons lie with this machine and not with the upstream.
fn reason(error: &io::Error, address: &SocketAddress) -> String {
    let is_unix = matches!(address, SocketAddress::Unix(_));
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
        Some(Errno::ACCESS) if is_unix => format!(
            "{error}; let the user of this process write to the socket's file, and pass through its folders"
        ),
        Some(Errno::NOENT) if is_unix => {
            format!("{error}; its server may not be running, or listens elsewhere")
        }
        Some(Errno::CONNREFUSED) if is_unix => {
            format!("{error}; its server has ended and left the file behind")
        }
        _ => error.to_string(),
    }
}

async fn handshake(
    endpoint: &Endpoint,
    slot: &Slot,
    connector: &TlsConnector,
    name: ServerName<'static>,
    socket: ConnectedSocket,
) -> Result<Stream, Error> {
    let connecting = connector.connect(name, Socket::new(socket));
    let stream = connecting.await.map_err(|error| {
        endpoint.warn_tls_failure(&error);
        Error::TlsFailed
    })?;
    let session = stream.get_ref().1;
    let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    // A resumed session has that of the first handshake.
    if let Some(certificate) = session.peer_certificates().and_then(<[_]>::first).filter(|_| !resumed) {
        endpoint.note_certificate(certificate);
    }
    slot.count_handshake(resumed);
    Ok(Stream::Tls(Box::new(stream.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_and_ports_is_not_said_to_be_the_upstreams() {
        let inet = SocketAddress::Inet(([127, 0, 0, 1], 80).into());
        let unix = SocketAddress::Unix("unix:/run/app.sock".parse().unwrap());
        for (errno, address, said) in [
            (Errno::MFILE, &inet, "open file limit of the process"),
            (Errno::NFILE, &unix, "open file limit of the machine"),
            (Errno::ADDRNOTAVAIL, &inet, "no local port is free"),
            (Errno::CONNREFUSED, &inet, "Connection refused (os error 111)"),
            (Errno::CONNREFUSED, &unix, "left the file behind"),
            (Errno::NOENT, &unix, "its server may not be running"),
            (Errno::ACCESS, &unix, "let the user of this process write"),
        ] {
            let reason = reason(&io::Error::from_raw_os_error(errno.raw_os_error()), address);
            assert!(reason.contains(said), "{reason}");
        }
    }
}
