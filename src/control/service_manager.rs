//! The service manager that started the process: the states that sd_notify(3) reports to it.
//!
//! systemd starts a `Type=notify` service with the path of a datagram socket in `NOTIFY_SOCKET`. Without that variable nothing is
//! sent. The process passes the variable to no other process: the compiler of filters starts with an empty environment.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::values::printable::printable;

/// The time that a message may wait for room in the manager's queue. It waits on the control thread; workers continue.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// The longest status that is sent. A manager shows it in one line.
const STATUS_CHARACTERS_MAX: usize = 300;

/// A connection to the service manager. Without one, each message is dropped.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// Set by [`Self::stopping`], which alone reports from then on: the manager must not see a process that stops as one that
    /// serves.
    is_stopping: AtomicBool,
}

impl ServiceManager {
    /// Connects to the manager that the environment names. A socket that does not exist is a warning and no reason not to serve.
    pub(crate) fn from_environment() -> Self {
        Self::new(|name| std::env::var_os(name), std::process::id())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let socket = connect(&name).inspect_err(|error| {
            let socket = name.to_string_lossy();
            tracing::warn!(%socket, "the service manager cannot be notified (NOTIFY_SOCKET): {error}");
        });
        let watchdog = watchdog_timeout(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process);
        Self { socket: socket.ok(), watchdog, is_stopping: AtomicBool::new(false) }
    }

    /// Returns the time between two signs of life: half of the manager's timeout, as sd_watchdog_enabled(3) recommends.
    /// Returns `None` if the manager expects none.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|timeout| timeout / 2)
    }

    /// Reports that a start or a reload is complete.
    pub(crate) fn ready(&self, status: &str) {
        if !self.is_stopping.load(Ordering::Relaxed) {
            self.send(&format!("READY=1\n{}", status_line(status)));
        }
    }

    /// Reports that a reload begins. [`Self::ready`] ends it, whether the new configuration serves or is refused.
    pub(crate) fn reloading(&self) {
        if !self.is_stopping.load(Ordering::Relaxed) {
            // The manager orders the message by this clock (MONOTONIC_USEC of sd_notify(3)).
            let now = clock_gettime(ClockId::Monotonic);
            let now = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
        }
    }

    /// Reports a status without a change of state.
    pub(crate) fn status(&self, status: &str) {
        if !self.is_stopping.load(Ordering::Relaxed) {
            self.send(&status_line(status));
        }
    }

    /// Reports that the process stops, and takes at most `limit` for it. The manager then waits that long, even if its
    /// own timeout is shorter. Without a limit the manager's timeout holds.
    pub(crate) fn stopping(&self, limit: Option<Duration>, status: &str) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let extension = limit.map(|limit| format!("EXTEND_TIMEOUT_USEC={}\n", limit.as_micros()));
        self.send(&format!("STOPPING=1\n{}{}", extension.unwrap_or_default(), status_line(status)));
    }

    /// Reports a sign of life.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!("the service manager was not notified: {error}");
        }
    }
}

/// Connects to a path, or to a name in the abstract namespace, which begins with `@`.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let text = "it is neither an absolute path nor an abstract name (`@NAME`)";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(socket)
}

/// Returns the manager's timeout, if it expects signs of life from this process.
fn watchdog_timeout(timeout: Option<OsString>, process: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    if process.is_some_and(|process| number(process) != Some(own.into())) {
        return None;
    }
    timeout.and_then(number).filter(|timeout| *timeout > 0).map(Duration::from_micros)
}

/// Returns the assignment of a status, which ends at a line feed: what follows one would be another assignment.
fn status_line(status: &str) -> String {
    let first = status.lines().next().unwrap_or_default();
    let shown: String = printable(first).chars().take(STATUS_CHARACTERS_MAX).collect();
    format!("STATUS={shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_holds_for_the_process_that_it_names() {
        for (timeout, process, expected) in [
            (Some("30000000"), None, Some(Duration::from_secs(30))),
            (Some("30000000"), Some("7"), Some(Duration::from_secs(30))),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some("seven"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            let found = watchdog_timeout(timeout.map(Into::into), process.map(Into::into), 7);
            assert_eq!(found, expected, "{timeout:?} {process:?}");
        }
    }

    #[test]
    fn status_is_one_line_without_control_characters() {
        assert_eq!(status_line("serves"), "STATUS=serves");
        assert_eq!(status_line("refused: a\u{7}\nREADY=1"), "STATUS=refused: a\\u{7}");
        assert_eq!(status_line(""), "STATUS=");
        assert_eq!(status_line(&"ü".repeat(1000)).chars().count(), 300 + "STATUS=".len());
    }

    #[test]
    fn notify_socket_is_a_path_or_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let manager = |name: &OsStr| {
            let name = name.to_owned();
            ServiceManager::new(move |variable| (variable == "NOTIFY_SOCKET").then(|| name.clone()), 1)
        };
        manager(path.as_os_str()).status("by path");
        let mut message = [0; 64];
        let length = receiver.recv(&mut message).unwrap();
        assert_eq!(message.get(..length), Some(&b"STATUS=by path"[..]));

        let name = format!("gateway-test-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(OsStr::new(&format!("@{name}"))).status("by name");
        let length = receiver.recv(&mut message).unwrap();
        assert_eq!(message.get(..length), Some(&b"STATUS=by name"[..]));

        for wrong in ["relative", "vsock:2:1", "/nonexistent/notify", ""] {
            assert!(manager(OsStr::new(wrong)).socket.is_none(), "{wrong}");
        }
    }
}
