//! The access log: a line per request, written by a thread of its own.
//!
//! A worker formats the line into a buffer that is its own and goes on; every few milliseconds the writer takes the
//! buffers and writes them out. A log that can't keep up (a full disk, a pipe that nobody reads) costs lines, which are
//! counted, and never holds up a request.

mod calendar;
mod format;
mod writer;

use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{LogFormat, LogOutput};
use writer::Writer;

/// What the log says of one request. Optional fields are those that a request may not have come to.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When the request's first byte arrived.
    pub started: SystemTime,
    /// The client's address; behind a trusted proxy, the address that the proxy named.
    pub client: IpAddr,
    /// The listener's name.
    pub listener: &'a str,
    /// The method as received.
    pub method: &'a str,
    /// Path and query as received, whatever bytes they had.
    pub target: &'a [u8],
    /// The protocol version of the client's side.
    pub version: http::Version,
    /// The Host or `:authority` as received.
    pub host: Option<&'a [u8]>,
    /// The status that the client got; 0 if it got none.
    pub status: u16,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The upstream endpoint that answered, or was asked last.
    pub endpoint: Option<&'a str>,
    /// Whether the upstream connection had served another request before.
    pub reused: Option<bool>,
    /// How often the request was sent or meant to be sent upstream; 0 for an answer of our own.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Time spent waiting for an upstream connection, connecting included.
    pub acquire: Option<Duration>,
    /// Time spent connecting, TLS included; `None` on a reused connection.
    pub connect: Option<Duration>,
    /// From the request's header to the first byte of the upstream's response.
    pub first_byte: Option<Duration>,
    /// From the request's header to the end of the response.
    pub total: Duration,
    /// Why it failed: the `x-gateway-error` of the response.
    pub error: Option<&'static str>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'a [u8]>,
    /// The `Referer` field.
    pub referer: Option<&'a [u8]>,
}

/// An open access log. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: LogFormat,
    writer: Arc<Writer>,
}

impl AccessLog {
    /// Opens the output and starts the writer.
    ///
    /// # Errors
    /// When the file can't be opened for appending, or the thread can't be started.
    pub fn open(format: LogFormat, output: &LogOutput) -> io::Result<Self> {
        let sink: Box<dyn io::Write + Send> = match output {
            LogOutput::Stdout => Box::new(io::stdout()),
            LogOutput::Stderr => Box::new(io::stderr()),
            LogOutput::File(path) => Box::new(OpenOptions::new().append(true).create(true).open(path)?),
        };
        Self::to_sink(format, sink)
    }

    fn to_sink(format: LogFormat, sink: Box<dyn io::Write + Send>) -> io::Result<Self> {
        Ok(Self { format, writer: Writer::start(sink)? })
    }

    /// Adds a line. Never waits for the output; when the lines of this thread fill their buffer (1 MiB), or the log is
    /// closed, the line is dropped and counted.
    pub fn write(&self, record: &Record<'_>) {
        self.writer.append(|lines, calendar| match self.format {
            LogFormat::Json => format::json(lines, calendar, record),
            LogFormat::Common => format::common(lines, calendar, record),
        });
    }

    /// placeholder
    #[must_use]
    pub fn is_current(&self) -> bool {
        true
    }

    /// How many lines could not be written since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Writes out what there is and ends the writer; answers whether that was done within `patience`.
    ///
    /// Blocks the calling thread, so it belongs to the end of the process, after the last request.
    pub fn close(&self, patience: Duration) -> bool {
        self.writer.close(patience)
    }
}

#[cfg(test)]
mod tests;
