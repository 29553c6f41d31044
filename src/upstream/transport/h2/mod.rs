//! HTTP/2 towards endpoints: exchanges share a connection, each on a stream of it.
//!
//! A connection has a task, the [`Driver`], which reads and writes. Exchanges run in the tasks of their requests. They share the
//! [`H2Connection`] and wake one another.

mod connection;
mod driver;
mod exchange;
mod upgrade;

use std::task::Poll;

pub(crate) use connection::H2Connection;
pub(crate) use driver::Driver;
pub(crate) use exchange::H2Exchange;
pub(in crate::upstream) use exchange::PingCheck;

use crate::net::stream::Stream;
use crate::upstream::close_reason::CloseReason;

/// Opens a connection on a new stream: sends the preface and waits for the server's settings, which say how many requests it
/// takes.
///
/// # Errors
/// Returns the error of a server that does not speak HTTP/2, or closes the stream.
pub(in crate::upstream) async fn open(stream: Stream) -> Result<Driver, NotHttp2> {
    let mut driver = Driver::new(stream);
    let opened = std::future::poll_fn(|cx| match driver.poll(cx) {
        Poll::Ready(reason) => Poll::Ready(Err(reason)),
        Poll::Pending if driver.connection().is_settled() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match opened {
        Ok(()) => Ok(driver),
        Err(reason) => Err(NotHttp2 { is_closed: reason == CloseReason::Peer }),
    }
}

/// A server that did not send the settings of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) struct NotHttp2 {
    /// True if it closed the connection; otherwise it sent something else.
    pub(in crate::upstream) is_closed: bool,
}
