//! An exchange over HTTP/2.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::connection::Io;
use super::request::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Request, Response, extend};
use crate::http::h2::{Code, Connection, Event, Limits, OutgoingRequest, Part, ResponseHead, StreamKey};
use crate::http::message::HeadLimits;

/// The size of one read.
const READ_BYTES: usize = 16 << 10;

/// The window of a connection is never smaller (RFC 9113 §6.9.2).
const WINDOW: u32 = BODY_BYTES_MAX as u32;

/// Sends a request on a new connection and returns the response. The connection ends with it.
///
/// # Errors
/// Returns the reason why there is no response.
pub(super) async fn exchange(stream: Box<dyn Io>, request: &Request) -> Result<Response, String> {
    let limits = Limits {
        head: HeadLimits { headers: 256, header_bytes: HEAD_BYTES_MAX, target_bytes: 0 },
        max_streams: 0, // no server may open any
        stream_window: WINDOW,
        stream_window_max: WINDOW,
        connection_window: WINDOW,
        header_table: 4096,
        connect_protocol: false,
    };
    let engine = Connection::client(limits, Instant::now());
    let mut exchange = Exchange { stream, engine, is_settled: false, head: None, body: BytesMut::new() };
    let response = exchange.run(request).await;
    exchange.engine.end(Code::NO_ERROR, "");
    // A goodbye that cannot be sent changes nothing.
    let _gone = exchange.write().await;
    response
}

struct Exchange {
    stream: Box<dyn Io>,
    engine: Connection,
    /// True once the server has shown that it speaks HTTP/2.
    is_settled: bool,
    head: Option<Box<ResponseHead>>,
    body: BytesMut,
}

impl Exchange {
    async fn run(&mut self, request: &Request) -> Result<Response, String> {
        let is_empty = request.body.is_empty();
        let outgoing = OutgoingRequest {
            method: &request.method,
            scheme: request.scheme,
            authority: request.host.as_bytes(),
            path: &request.target,
            protocol: None,
            headers: &request.headers,
            length: (!is_empty).then_some(request.body.len() as u64),
        };
        let stream = self.engine.request(&outgoing, is_empty).ok_or("it takes no requests")?;
        if !is_empty {
            self.engine.data(stream, request.body.clone(), true);
        }
        loop {
            self.write().await.map_err(broken)?;
            let read = self.read().await.map_err(broken)?;
            if read.is_empty() {
                let instead_of = if self.is_settled { "a response" } else { "the settings of HTTP/2" };
                return Err(format!("it closed the connection in place of {instead_of}"));
            }
            self.engine
                .receive(read, Instant::now())
                .map_err(|error| format!("it breaks HTTP/2: {error}"))?;
            if let Some(response) = self.events(stream)? {
                return Ok(response);
            }
        }
    }

    /// Takes what has arrived. Returns the response once it is complete.
    fn events(&mut self, stream: StreamKey) -> Result<Option<Response>, String> {
        while let Some(event) = self.engine.event() {
            match event {
                Event::Response(_, head) if !head.status.is_informational() => self.head = Some(head),
                Event::Settings => self.is_settled = true,
                Event::Reset { code, .. } => return Err(reset(code)),
                _ => {}
            }
        }
        while let Some(part) = self.engine.take(stream) {
            match part {
                Part::Data(data) if extend(&mut self.body, &data) => {}
                Part::Data(_) | Part::End => return Ok(self.response(None)),
                Part::Trailers(trailers) => return Ok(self.response(Some(trailers))),
                Part::Reset(code) => return Err(reset(code)),
            }
        }
        Ok(None)
    }

    fn response(&mut self, trailers: Option<crate::http::fields::Fields>) -> Option<Response> {
        let ResponseHead { status, headers, .. } = *self.head.take()?;
        Some(Response { status, headers, body: std::mem::take(&mut self.body).freeze(), trailers })
    }

    async fn write(&mut self) -> std::io::Result<()> {
        self.engine.schedule();
        while self.engine.has_output() {
            let mut slices = [IoSlice::new(&[])];
            self.engine.output(&mut slices);
            let [slice] = slices;
            let written = self.stream.write(&slice).await?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.engine.written(written);
            self.engine.schedule();
        }
        self.stream.flush().await
    }

    async fn read(&mut self) -> std::io::Result<Bytes> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        self.stream.read_buf(&mut buffer).await?;
        Ok(buffer.freeze())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: std::io::Error) -> String {
    format!("the connection broke: {error}")
}

fn reset(code: Code) -> String {
    format!("it reset the stream, code {}", code.0)
}
