//! The access log: a line per request, written by a thread of its own.
//!
//! A worker formats the line into its own buffer and continues. Every few milliseconds the writer takes the buffers and
//! writes them out. A log that cannot keep up (a full disk, a pipe without a reader) drops lines and counts them. It
//! never delays a request.

mod calendar;
mod format;
mod writer;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};
use writer::{Sink, Writer};

use crate::config::{LogFormat, LogOutput};
use crate::observe::traces::{SpanId, TraceId};

/// The log entry of one request. Optional fields are `None` if the request did not get that far.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// The arrival time of the request's first byte.
    pub(crate) started: SystemTime,
    /// The client's address; behind a trusted proxy, the address that the proxy named. `None` on a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) listener: &'a str,
    /// The method as received.
    pub(crate) method: &'a str,
    /// Path and query as received, whatever bytes they contain.
    pub(crate) target: &'a [u8],
    /// The protocol version of the client's side.
    pub(crate) version: http::Version,
    /// The Host or `:authority` as received.
    pub(crate) host: Option<&'a [u8]>,
    /// The status that the client got; 0 if it got none.
    pub(crate) status: u16,
    /// The status of a gRPC call; `None` for other requests, and if the client got none.
    pub(crate) grpc_status: Option<u8>,
    pub(crate) route: Option<&'a str>,
    /// The upstream endpoint that responded, or the last one that was tried.
    pub(crate) endpoint: Option<&'a str>,
    /// True if the upstream connection had served another request before.
    pub(crate) reused: Option<bool>,
    /// The number of attempts to send the request upstream; 0 if the gateway responded itself.
    pub(crate) attempts: u32,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Time spent waiting for an upstream connection, connecting included.
    pub(crate) acquire: Option<Duration>,
    /// Time spent connecting, TLS included; `None` on a reused connection.
    pub(crate) connect: Option<Duration>,
    /// The time from the request's header to the first byte of the upstream's response.
    pub(crate) first_byte: Option<Duration>,
    /// The time from the request's header to the end of the response.
    pub(crate) total: Duration,
    /// The reason of a failure: the `x-gateway-error` of the response.
    pub(crate) error: Option<&'static str>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// The way by which the caller is known, by its name under `auth`.
    pub(crate) auth: Option<&'a str>,
    /// The caller, if it is known.
    pub(crate) identity: Option<&'a str>,
    /// The identifier, if the route gives requests one.
    pub(crate) request_id: Option<&'a [u8]>,
    /// The trace of the request, if traces are on.
    pub(crate) trace_id: Option<TraceId>,
    /// The span of the request, if it is recorded.
    pub(crate) span_id: Option<SpanId>,
}

/// An open access log. It is cheap to clone, and all clones are one log. When the last one is dropped, the log writes
/// its remaining lines and ends.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog(Arc<Open>);

#[derive(Debug)]
struct Open {
    format: LogFormat,
    writer: Writer,
    output: Output,
}

/// The destination of the lines.
#[derive(Debug)]
enum Output {
    /// A standard stream, by its name.
    Stream(&'static str),
    File(OpenFile),
}

/// The outcome of [`AccessLog::reopen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopened {
    /// The file had been moved or removed; a new one has been opened at its path.
    Anew,
    Same,
    /// The log goes to standard output or standard error.
    Stream,
}

/// The path and the identity of the open file.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    id: Mutex<FileId>,
}

impl AccessLog {
    /// Opens the output and starts the writer.
    pub(crate) fn open(format: LogFormat, output: &LogOutput) -> io::Result<Self> {
        match output {
            LogOutput::Stdout => Self::to_sink(format, Box::new(io::stdout()), Output::Stream("stdout")),
            LogOutput::Stderr => Self::to_sink(format, Box::new(io::stderr()), Output::Stream("stderr")),
            LogOutput::File(path) => {
                let (file, id) = open_file(path)?;
                let open = OpenFile { path: path.clone(), id: Mutex::new(id) };
                Self::to_sink(format, Box::new(file), Output::File(open))
            }
        }
    }

    fn to_sink(format: LogFormat, sink: Sink, output: Output) -> io::Result<Self> {
        Ok(Self(Arc::new(Open { format, writer: Writer::start(sink)?, output })))
    }

    /// Returns true if the output's path still leads to the file that is written to. It returns false after a rotation
    /// has moved or removed the file, which then has to be opened again. Standard output and standard error are always
    /// current.
    ///
    /// Reads the file system, so call it on the control plane.
    pub(crate) fn is_current(&self) -> bool {
        let Output::File(file) = &self.0.output else { return true };
        let id = *file.id.lock().unwrap_or_else(PoisonError::into_inner);
        fs::metadata(&file.path).is_ok_and(|found| file_id(&found) == id)
    }

    /// Reopens the log's file if it was moved or removed. New lines go to the new file, and no line is lost. Call it on
    /// the control plane, like [`AccessLog::is_current`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened. Lines still go to the old one.
    pub(crate) fn reopen(&self) -> io::Result<Reopened> {
        let Output::File(file) = &self.0.output else { return Ok(Reopened::Stream) };
        if self.is_current() {
            return Ok(Reopened::Same);
        }
        let (sink, id) = open_file(&file.path)?;
        self.0.writer.redirect(Box::new(sink));
        *file.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(Reopened::Anew)
    }

    /// Returns the output as the configuration writes it: a path, `stdout` or `stderr`.
    pub(crate) fn output(&self) -> String {
        match &self.0.output {
            Output::File(file) => file.path.display().to_string(),
            Output::Stream(name) => (*name).to_owned(),
        }
    }

    /// Returns true if both are clones of the same log.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Appends a line. It never waits for the output. If this thread's buffer is full (1 MiB), or the log is closed,
    /// the line is dropped and counted.
    pub(crate) fn write(&self, record: &Entry<'_>) {
        self.0.writer.append(|lines, calendar| match self.0.format {
            LogFormat::Json => format::json(lines, calendar, record),
            LogFormat::Common => format::common(lines, calendar, record),
        });
    }

    /// Returns the number of lines that could not be written since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.writer.dropped()
    }

    /// Writes the remaining lines and ends the writer. Returns true if that was done within `patience`.
    ///
    /// Blocks the calling thread, so call it at the end of the process, after the last request. A log that a reload
    /// replaces is just dropped.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.0.writer.close(patience)
    }
}

/// Checks that an output could be opened. Creates nothing.
pub(crate) fn check_output(output: &LogOutput) -> io::Result<()> {
    let LogOutput::File(path) = output else { return Ok(()) };
    match fs::metadata(path) {
        // Opening a FIFO for writing blocks until it has a reader.
        Ok(found) if found.is_file() || found.is_dir() => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

fn open_file(path: &Path) -> io::Result<(File, FileId)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let id = file_id(&file.metadata()?);
    Ok((file, id))
}

/// The identity of a file, independent of its name: device and inode.
type FileId = (u64, u64);

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests;
