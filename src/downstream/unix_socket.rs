//! Unix sockets of listeners, and their files.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::bind::BACKLOG;
use crate::config::load::code::Code;
use crate::config::{ConfigError, FileMode, Loaded, Segment, UnixSocket};

/// The reason why a Unix socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnixBindError {
    #[error("another program listens there")]
    Live,
    #[error("there is a file that is not a socket")]
    NotASocket,
    #[error("another program has taken the socket's place")]
    Replaced,
    #[error("{0}")]
    System(#[from] io::Error),
}

impl UnixBindError {
    /// Returns the error at a place of the configuration, with what to do about it.
    pub(crate) fn at(&self, loaded: &Loaded, place: &[Segment]) -> ConfigError {
        let help = match self {
            Self::Live => "`ss -lxp` shows which: stop it, or write another path",
            Self::NotASocket => "it is left as it is: move it away, or write another path",
            Self::Replaced => "stop it, or write another path",
            Self::System(error) => match error.kind() {
                io::ErrorKind::NotFound => "its folder does not exist: create it, or write another path",
                io::ErrorKind::PermissionDenied => {
                    "let the user of this process write in its folder, or write another path"
                }
                io::ErrorKind::AddrInUse => "another program listens there: stop it, or write another path",
                _ => "write another path",
            },
        };
        loaded
            .source
            .error(Code::AddressUnavailable, place, format!("cannot listen on this address: {self}"))
            .help(help)
    }
}

/// The file of a Unix socket that this process is bound to. It is removed with this value at the latest.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Its device and inode. The number is not reused while the socket is open.
    identity: (u64, u64),
    is_removed: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        Ok(Self { path: path.to_owned(), identity, is_removed: AtomicBool::new(false) })
    }

    /// Returns true if the path still leads to this socket.
    fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }

    /// Sets its permissions, unless the path leads to something else by now.
    pub(crate) fn set_mode(&self, mode: FileMode) -> io::Result<()> {
        // By descriptor: between a look at the path and a change, a link to another file could take its place.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if (found.st_dev, found.st_ino) != self.identity {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the socket's file is another one"));
        }
        let file = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode.bits()))
    }

    /// Removes the file, unless another program has put its own in its place. Does nothing the second time.
    pub(crate) fn remove(&self) {
        if !self.is_removed.swap(true, Ordering::Relaxed)
            && self.is_in_place()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), "the socket's file cannot be removed: {error}");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Binds a socket, with a descriptor for each worker. Returns them with the socket's file, if it has one. Clients are refused until
/// [`listen`]. A socket that a dead process left behind is replaced.
pub(crate) fn bind(
    address: &UnixSocket,
    mode: FileMode,
    workers: usize,
) -> Result<(Vec<UnixListener>, Option<SocketFile>), UnixBindError> {
    if let Some(path) = address.file() {
        remove_stale(path)?;
    }
    let socket = stream_socket()?;
    if address.file().is_some() {
        // On Linux the file begins with these permissions, less the umask. Without it, more clients could come in for a moment.
        let permissions = Mode::from_bits_truncate(mode.bits());
        rustix::fs::fchmod(&socket, permissions).ok();
    }
    socket.bind(&SockAddr::unix(address.path())?)?;
    let file = address.file().map(SocketFile::of).transpose()?;
    if let Some(file) = &file {
        file.set_mode(mode)?;
    }
    let first = UnixListener::from(OwnedFd::from(socket));
    let others = (1..workers).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()?;
    Ok((std::iter::once(first).chain(others).collect(), file))
}

/// Starts listening on a socket of [`bind`].
///
/// # Errors
/// Another program has replaced the socket's file since, because nothing listened on it.
pub(crate) fn listen(socket: &UnixListener, file: Option<&SocketFile>) -> Result<(), UnixBindError> {
    SockRef::from(socket).listen(BACKLOG)?;
    match file.is_none_or(SocketFile::is_in_place) {
        true => Ok(()),
        false => Err(UnixBindError::Replaced),
    }
}

/// Removes the file at `path` if it is a socket that nothing listens on.
fn remove_stale(path: &Path) -> Result<(), UnixBindError> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(UnixBindError::NotASocket);
    }
    let refused = match stream_socket()?.connect(&SockAddr::unix(path)?) {
        Ok(()) => return Err(UnixBindError::Live),
        Err(error) => error,
    };
    match refused.raw_os_error().map(Errno::from_raw_os_error) {
        // Another program may have replaced it meanwhile.
        Some(Errno::CONNREFUSED) if identity(path).ok() != Some((found.dev(), found.ino())) => {
            Err(UnixBindError::Live)
        }
        Some(Errno::CONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
        Some(Errno::NOENT) => Ok(()),
        // Its queue is full, or it is a socket of another type.
        Some(Errno::AGAIN | Errno::PROTOTYPE) => Err(UnixBindError::Live),
        _ => Err(refused.into()),
    }
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not keep the probe waiting.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use tempfile::TempDir;

    use super::*;

    const MODE: FileMode = FileMode::OWNER_AND_GROUP;

    fn folder() -> (TempDir, PathBuf, UnixSocket) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let address = format!("unix:{}", path.display()).parse().unwrap();
        (folder, path, address)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn unix_socket_refuses_clients_until_it_listens_and_its_file_goes_with_it() {
        let (_folder, path, address) = folder();
        let (sockets, file) = bind(&address, MODE, 3).unwrap();
        assert_eq!((sockets.len(), mode(&path)), (3, 0o660));
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        listen(&sockets[0], file.as_ref()).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        sockets[2].accept().unwrap();
        file.as_ref().unwrap().set_mode("0600".parse().unwrap()).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn stale_socket_is_replaced_and_a_live_one_is_an_error() {
        let (_folder, path, address) = folder();
        let left = UnixListener::bind(&path).unwrap();
        assert!(matches!(bind(&address, MODE, 1), Err(UnixBindError::Live)));
        drop(left);
        drop(bind(&address, MODE, 1).unwrap());
        let _other_type = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(bind(&address, MODE, 1), Err(UnixBindError::Live)));
        assert!(path.exists());
    }

    #[test]
    fn file_that_is_no_socket_is_never_removed() {
        let (folder, path, address) = folder();
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(bind(&address, MODE, 1), Err(UnixBindError::NotASocket)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(bind(&address, MODE, 1), Err(UnixBindError::NotASocket)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn socket_that_took_the_place_is_neither_removed_nor_changed() {
        let (_folder, path, address) = folder();
        let (sockets, file) = bind(&address, MODE, 1).unwrap();
        // Another gateway starts at the same time, and finds that nothing listens.
        let (_others, other_file) = bind(&address, "0600".parse().unwrap(), 1).unwrap();
        assert!(matches!(listen(&sockets[0], file.as_ref()), Err(UnixBindError::Replaced)));
        assert!(file.as_ref().unwrap().set_mode(MODE).is_err());
        drop(file);
        assert_eq!(mode(&path), 0o600);
        drop(other_file);
        assert!(!path.exists());
    }

    #[test]
    fn abstract_socket_has_no_file() {
        let address: UnixSocket = format!("unix:@gateway-unit-{}", std::process::id()).parse().unwrap();
        let (sockets, file) = bind(&address, MODE, 2).unwrap();
        assert!(file.is_none());
        listen(&sockets[0], None).unwrap();
        let Err(UnixBindError::System(error)) = bind(&address, MODE, 1) else { panic!("bound twice") };
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
