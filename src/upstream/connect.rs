//! Opening a connection: TCP, then TLS where the endpoint wants it, within `timeouts.connect`.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::pool::Slot;
use crate::error::Error;
use crate::stream::{Socket, Stream};
use crate::timer::{Timer, deadline};

/// Opens a connection to `endpoint` in the place that `slot` keeps for it.
///
/// # Errors
/// [`Error::ConnectFailed`], [`Error::TlsFailed`] or [`Error::ConnectTimeout`]; the place is given back.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    mut slot: Slot,
    timeout: Option<Duration>,
    timer: &Timer,
) -> Result<Connection, Error> {
    let opened = timer.within(deadline(timeout), pin!(open(endpoint))).await;
    match opened.unwrap_or(Err(Error::ConnectTimeout)) {
        Ok(stream) => {
            slot.opened();
            let lifetime = slot.pool().settings().max_lifetime;
            let expires = lifetime.and_then(|lifetime| Instant::now().checked_add(spread(lifetime)));
            Ok(Connection {
                stream,
                slot,
                served: 0,
                kept: false,
                bodiless: false,
                expires,
                server_keeps: None,
            })
        }
        Err(error) => {
            if error == Error::ConnectTimeout {
                endpoint.warn_failure(&error); // the others have said more of themselves
            }
            slot.failed();
            Err(error)
        }
    }
}

async fn open(endpoint: &Endpoint) -> Result<Stream, Error> {
    let socket = TcpStream::connect(endpoint.address()).await.map_err(|error| {
        endpoint.warn_failure(&error);
        Error::ConnectFailed
    })?;
    // Without it a small request can wait for the peer's delayed acknowledgement; nothing else depends on it.
    drop(socket.set_nodelay(true));
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

/// A lifetime give or take a tenth, so that connections opened together do not end together.
fn spread(lifetime: Duration) -> Duration {
    // Each RandomState has keys of its own: a hash by it is a random number.
    let random = RandomState::new().hash_one(()) % 2001;
    let permille_of_tenth = u32::try_from(random).unwrap_or(1000);
    lifetime.mul_f64(0.9 + f64::from(permille_of_tenth) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_spread_by_a_tenth() {
        let lifetime = Duration::from_secs(100);
        let spread: Vec<Duration> = (0..200).map(|_| spread(lifetime)).collect();
        assert!(spread.iter().all(|age| (90..=110).contains(&age.as_secs())), "{spread:?}");
        assert!(spread.iter().any(|age| *age < lifetime) && spread.iter().any(|age| *age > lifetime));
    }
}
