//! Opening a connection: TCP, then TLS where the endpoint wants it, within `timeouts.connect`.

use std::pin::pin;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::{Age, Connection};
use super::endpoint::Endpoint;
use super::pool::Slot;
use crate::error::Error;
use crate::stream::{Socket, Stream};
use crate::timer::{Timer, deadline};
use crate::turn;

/// Opens a connection to `endpoint` in the place that `slot` keeps for it.
///
/// # Errors
/// [`Error::ConnectFailed`], [`Error::TlsFailed`] or [`Error::ConnectTimeout`]; the place is given back.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    slot: Slot,
    timeout: Option<Duration>,
    timer: &Timer,
) -> Result<Connection, Error> {
    let opened = timer.within(deadline(timeout), pin!(open(endpoint))).await;
    match opened.unwrap_or(Err(Error::ConnectTimeout)) {
        Ok(stream) => Ok(adopt(slot, stream)),
        Err(error) => {
            if error == Error::ConnectTimeout {
                endpoint.warn_failure(&error); // the others have said more of themselves
            }
            slot.failed();
            Err(error)
        }
    }
}

/// The connection that a stream is from now on, in the place that `slot` keeps for it.
pub(crate) fn adopt(mut slot: Slot, stream: Stream) -> Connection {
    slot.opened();
    let (served, kept, bodiless, server_keeps) = (0, false, false, None);
    Connection { stream, slot, served, kept, bodiless, age: Age::begin(), server_keeps }
}

async fn open(endpoint: &Endpoint) -> Result<Stream, Error> {
    turn::end().await;
    let socket = TcpStream::connect(endpoint.address()).await.map_err(|error| {
        endpoint.warn_failure(&error);
        Error::ConnectFailed
    })?;
    match endpoint.tls() {
        None => Ok(Stream::plain(socket)),
        Some((connector, name)) => handshake(endpoint, connector, name.clone(), socket).await,
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
        endpoint.warn_failure(&error);
        Error::TlsFailed
    })?;
    let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    endpoint.pool().count_handshake(resumed);
    Ok(Stream::Tls(Box::new(stream.into())))
}
