//! Syslog: the head of messages (RFC 5424), and their transport by UDP (RFC 5426), TCP (RFC 6587) and Unix sockets.
//!
//! The writer's thread resolves names, connects and sends, so no worker and no start waits for a receiver. While the receiver is away, lines
//! stay in the buffers of the workers, which are bounded.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockRef;

use super::encode::millionths;
use super::sink::{Batch, Link, Loss, Sent, Sink};
use crate::config::{Syslog, SyslogReceiver, SyslogServer};
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// The time limit for connecting to one address.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// The longest wait in one system call, after which the thread looks whether the log was closed.
const WRITE_MAX: Duration = Duration::from_millis(250);

/// The time without progress after which a connection is given up.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The same at the end of a log.
const STALL_AT_END_MAX: Duration = Duration::from_secs(1);

/// The waits before the second attempt to connect, and before each one after several.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The wait before a message is offered again to a receiver whose queue is full.
const BUSY: Duration = Duration::from_millis(50);

/// The time without an error after which a receiver by UDP counts as present: it confirms nothing, and the system learns only later that
/// there is none.
const PROOF: Duration = Duration::from_secs(1);

/// The bytes that are sent in one system call by TCP.
const FRAMES_BYTES: usize = 64 * 1024;

/// The head of a message, but for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    before: Box<str>,
    after: Box<str>,
}

impl Head {
    pub(super) fn new(settings: &Syslog) -> Self {
        let priority = u16::from(settings.facility.number()) * 8 + u16::from(settings.severity.number());
        let host = rustix::system::uname();
        let host = visible(&host.nodename().to_string_lossy(), 255);
        let process = std::process::id();
        Self {
            before: format!("<{priority}>1 ").into(),
            after: format!(" {host} {} {process} access - ", settings.app_name).into(),
        }
    }

    /// Appends the head of a message. `time` is without fraction and zone.
    pub(super) fn write(&self, line: &mut Vec<u8>, time: &str, micros: u32) {
        line.extend_from_slice(self.before.as_bytes());
        line.extend_from_slice(time.as_bytes());
        millionths(line, micros);
        line.push(b'Z');
        line.extend_from_slice(self.after.as_bytes());
    }
}

/// Returns a name without what a head cannot have; `-` if nothing is left.
fn visible(name: &str, length_max: usize) -> String {
    let name: String = name.chars().filter(char::is_ascii_graphic).take(length_max).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// The connection to a receiver, if there is one at the moment.
pub(super) struct SyslogSink {
    receiver: SyslogReceiver,
    /// The connection, and the time since which there is one.
    connection: Option<(Connection, Instant)>,
    backoff: Duration,
    is_away: bool,
    warnings: RateLimitedWarning,
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Sink for SyslogSink {
    fn send(&mut self, batch: &mut Batch, link: &Link) -> Sent {
        match self.try_send(batch, link) {
            Ok(()) => Sent::All,
            // The queue of a local receiver is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock || is_busy(&error) => {
                Sent::Later(Instant::now() + BUSY)
            }
            Err(error) => Sent::Later(self.lost(&error)),
        }
    }
}

impl SyslogSink {
    pub(super) fn new(receiver: SyslogReceiver) -> Self {
        let warnings = RateLimitedWarning::every(Duration::from_secs(10));
        Self { receiver, connection: None, backoff: BACKOFF, is_away: false, warnings }
    }

    fn try_send(&mut self, batch: &mut Batch, link: &Link) -> io::Result<()> {
        let (connection, since) = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert((connect(&self.receiver)?, Instant::now())),
        };
        let is_proven = !matches!(connection, Connection::Udp(_)) || since.elapsed() >= PROOF;
        match connection {
            Connection::Udp(socket) => send_datagrams(batch, link, |message| {
                let sent = socket.send(message);
                // The error is about an earlier message, and this one has not been sent.
                if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                    link.counts.drop_lines(Loss::Output, 1);
                }
                sent
            }),
            Connection::Unix(socket) => send_datagrams(batch, link, |message| socket.send(message)),
            Connection::Tcp(stream) => send_frames(batch, link, stream),
        }?;
        if !is_proven {
            return Ok(());
        }
        self.backoff = BACKOFF;
        if std::mem::take(&mut self.is_away) {
            tracing::info!(receiver = %self.receiver, "the receiver of the access log takes lines again");
        }
        Ok(())
    }

    /// Gives the connection up. Returns the time of the next attempt.
    fn lost(&mut self, error: &io::Error) -> Instant {
        self.connection = None;
        if !std::mem::replace(&mut self.is_away, true)
            && let Some(suppressed) = self.warnings.passes()
        {
            tracing::warn!(
                receiver = %self.receiver,
                suppressed,
                "the receiver of the access log takes no lines: {error}; up to 1 MiB of each worker's wait for it"
            );
        }
        let wait = self.backoff;
        self.backoff = (wait * 2).min(BACKOFF_MAX);
        Instant::now() + wait
    }
}

fn is_busy(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOBUFS)
}

fn connect(receiver: &SyslogReceiver) -> io::Result<Connection> {
    match receiver {
        SyslogReceiver::Udp(server) => first_of(server, |address| {
            let any: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(address)?;
            Ok(Connection::Udp(socket))
        }),
        SyslogReceiver::Tcp(server) => first_of(server, |address| {
            let stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_MAX))?;
            let socket = SockRef::from(&stream);
            socket.set_keepalive(true)?;
            // A receiver that vanishes is noticed after this time.
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(STALL_MAX))?;
            Ok(Connection::Tcp(stream))
        }),
        SyslogReceiver::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(WRITE_MAX))?;
            socket.connect(path)?;
            Ok(Connection::Unix(socket))
        }
    }
}

/// Connects to the first address of a server that takes it.
fn first_of(
    server: &SyslogServer,
    connect: impl Fn(SocketAddr) -> io::Result<Connection>,
) -> io::Result<Connection> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (server.host.as_str(), server.port).to_socket_addrs()?.take(ADDRESSES_MAX) {
        match connect(address) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends each line as a datagram, without its newline.
fn send_datagrams(
    batch: &mut Batch,
    link: &Link,
    send: impl Fn(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    while !batch.is_empty() {
        let message = first_line(batch.rest());
        let length = message.len() + 1;
        match send(message) {
            Ok(_) => batch.advance(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                link.counts.drop_lines(Loss::TooLong, 1);
                batch.advance(length);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends lines as a stream of messages, each behind its length (RFC 6587 §3.4.1). After an error, the batch begins with the first message
/// that is not wholly in the hands of the system.
fn send_frames(batch: &mut Batch, link: &Link, stream: &mut TcpStream) -> io::Result<()> {
    check_open(stream)?;
    let mut frames = Vec::new();
    while !batch.is_empty() {
        frames.clear();
        let mut rest = batch.rest();
        while !rest.is_empty() && frames.len() < FRAMES_BYTES {
            rest = frame(&mut frames, rest);
        }
        let taken = batch.rest().len() - rest.len();
        let mut unsent = frames.as_slice();
        let mut progress = Instant::now();
        while !unsent.is_empty() {
            let error = match stream.write(unsent) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    unsent = unsent.get(written..).unwrap_or_default();
                    progress = Instant::now();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let limit = if link.is_closed() { STALL_AT_END_MAX } else { STALL_MAX };
                    if progress.elapsed() < limit {
                        continue;
                    }
                    io::Error::new(ErrorKind::TimedOut, "it reads nothing")
                }
                Err(error) => error,
            };
            batch.advance(whole_messages(batch.rest(), frames.len() - unsent.len()));
            return Err(error);
        }
        batch.advance(taken);
    }
    Ok(())
}

/// Appends the first line as a message behind its length. Returns the other lines.
fn frame<'l>(frames: &mut Vec<u8>, lines: &'l [u8]) -> &'l [u8] {
    let message = first_line(lines);
    super::encode::number(frames, message.len() as u64);
    frames.push(b' ');
    frames.extend_from_slice(message);
    lines.get(message.len() + 1..).unwrap_or_default()
}

/// Returns the length of the lines whose frames are wholly within so many bytes.
fn whole_messages(lines: &[u8], mut sent: usize) -> usize {
    let (mut rest, mut one) = (lines, Vec::new());
    while !rest.is_empty() {
        one.clear();
        let after = frame(&mut one, rest);
        let Some(left) = sent.checked_sub(one.len()) else { break };
        (rest, sent) = (after, left);
    }
    lines.len() - rest.len()
}

fn first_line(lines: &[u8]) -> &[u8] {
    lines.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Fails if the receiver has closed the connection. What is written to such a one is lost without an error.
fn check_open(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    // Receivers send nothing. What one sends all the same is read, and ignored.
    let read = stream.read(&mut [0; 1024]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(io::Error::new(ErrorKind::ConnectionAborted, "it has closed the connection")),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
}
