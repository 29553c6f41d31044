//! An accepted connection, controlled by a script.

use std::io;

use super::record::Opened;
use crate::message::{Framing, Head, Request};
use crate::wire::{Transport, Wire};

/// A connection that an origin accepted. Dropping it closes it: with a FIN, or with a RST if the peer sent something
/// that was not read, as the kernel does it; with TLS, without close_notify.
///
/// Nothing here panics or needs an `unwrap`. If the peer goes away, reads return `None` or nothing and writes do
/// nothing, and the reason is in [`Origin::errors`](super::Origin::errors). Waits have no limit; the test's own do.
#[derive(Debug)]
pub struct Connection {
    pub(super) wire: Wire,
    // This field follows `wire`, so the socket is closed by the time the record reports it.
    pub(super) opened: Opened,
}

impl Connection {
    pub(super) fn new(transport: Transport, opened: Opened) -> Self {
        Self { wire: Wire::new(transport), opened }
    }

    /// Returns the number of the connection, counted from 0 in the order of accepting.
    #[must_use]
    pub fn number(&self) -> usize {
        self.opened.number
    }

    /// Reads and records the next request with its body. Returns `None` if the peer closed or broke off.
    pub async fn read_request(&mut self) -> Option<Request> {
        let head = self.read_head().await?;
        self.read_body(&head).await
    }

    /// Reads the head of the next request, which is recorded only when its body is read. Returns `None` if the peer
    /// closed or broke off.
    pub async fn read_head(&mut self) -> Option<Head> {
        let head = self.wire.read_head().await;
        self.reported(head)?
    }

    /// Reads the rest of the request whose head has been read, and records it. Returns `None` if the peer broke off.
    pub async fn read_body(&mut self, head: &Head) -> Option<Request> {
        let request = self.request(head).await;
        let request = self.reported(request)?;
        self.opened.record.request(request.clone());
        Some(request)
    }

    async fn request(&mut self, head: &Head) -> io::Result<Request> {
        let (method, target) = head.request_line()?;
        let (method, target) = (method.to_owned(), target.to_owned());
        let body = self.wire.read_body(head.request_framing()?).await?;
        Ok(Request {
            method,
            target,
            headers: head.headers.clone(),
            body: body.content,
            trailers: body.trailers,
            raw_head: head.raw.clone(),
            connection: self.opened.number,
        })
    }

    /// Reads exactly `length` bytes. Returns `None` if the peer closed before.
    pub async fn read_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        let bytes = self.wire.read_exact(length).await;
        self.reported(bytes)
    }

    /// Reads the available bytes, at least one; none if the peer closed.
    pub async fn read_some(&mut self) -> Vec<u8> {
        let bytes = self.wire.read_some().await;
        self.reported(bytes).unwrap_or_default()
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.wire.write(bytes.as_ref()).await;
        self.reported(written);
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Returns the system's error, typically that the peer has closed.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes.as_ref()).await
    }

    /// Sends back all received bytes until the peer closes, like the other end of a tunnel.
    pub async fn echo(&mut self) {
        loop {
            let bytes = self.read_some().await;
            if bytes.is_empty() {
                return;
            }
            self.write(&bytes).await;
        }
    }

    /// Reads without responding until the peer closes or resets, like a server that stalls.
    pub async fn wait_closed(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        loop {
            // A reset is as good as a close here, so it is not recorded as an error.
            match self.wire.read_some().await {
                Ok(bytes) if !bytes.is_empty() => received.extend_from_slice(&bytes),
                _ => return received,
            }
        }
    }

    /// Ends the sending side and keeps reading.
    pub async fn half_close(&mut self) {
        let ended = self.wire.shutdown().await;
        self.reported(ended);
    }

    /// Closes properly, with close_notify on TLS. A drop is a cut: on TLS the peer sees that close_notify is missing.
    pub async fn close(mut self) {
        // The peer may have closed first. The connection ends either way.
        drop(self.wire.shutdown().await);
    }

    /// Closes with a RST.
    pub fn reset(self) {
        let Self { wire, opened } = self;
        wire.reset();
        drop(opened);
    }

    fn reported<T>(&self, result: io::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.opened.record.error(format!("connection {}: {error}", self.number())))
            .ok()
    }
}

/// Returns true if a response ends its connection: it says so, or its body ends with the connection. So do bytes that
/// are not HTTP.
pub(super) fn ends_connection(response: &[u8], to_head: bool) -> bool {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        return true;
    };
    let Ok(head) = Head::parse(response[..end + 4].to_vec()) else {
        return true;
    };
    let unended = !matches!(head.response_framing(to_head), Ok(Framing::Length(_) | Framing::Chunked));
    unended || head.headers.lists("connection", "close")
}
