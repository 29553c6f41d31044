//! An HTTP/2 connection (RFC 9113): its streams become requests like any other.
//!
//! A connection has a task, which reads, writes and watches its end, and so has each of its streams, which serves a request and
//! sends the response. They share the engine, [`Connection`](crate::http::h2::Connection), and wake one another.

mod body;
mod driver;
mod respond;
mod shared;
mod stream;
mod tunnel;

use std::rc::Rc;
use std::sync::Arc;

use driver::Driver;
use shared::Shared;
use tokio::time::Instant;

use crate::net::drain::DrainGuard;
use crate::net::stream::Stream;
use crate::proxy::client::Client;
use crate::snapshot::listener::ConnectionLimits;

/// Serves a client until it or the gateway ends the connection. Returns the reason for the end. The first stream has been
/// awaited since `began`. Each stream refreshes `options`.
pub(crate) async fn serve(
    stream: Stream,
    began: Instant,
    client: Rc<Client>,
    options: Arc<ConnectionLimits>,
    guard: &DrainGuard,
) -> &'static str {
    let shared = Rc::new(Shared::new(client, began, options));
    let mut driver = Driver::new(stream, shared, guard);
    std::future::poll_fn(|cx| driver.poll(cx)).await
}
