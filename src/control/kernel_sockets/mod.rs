//! The connections to upstreams as the kernel counts them, beside which operators see the pools' own counts.
//!
//! Only the sockets of this process count: others of the machine may talk to the same servers. The kernel is asked by sock_diag for the
//! sockets to the ports of endpoints, and each is looked up among this process's descriptors; where there is no sock_diag, /proc/net/tcp
//! has the same. A socket that no process has any more, above all one in TIME_WAIT, has no owner: it is counted by address, whichever
//! process it was of.

mod inet;
mod netlink;
mod proc;
mod state;
mod unix;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;

use self::inet::TcpSocket;
use self::netlink::SockDiag;
use self::state::State;
use crate::config::{SocketAddress, UnixSocket};

/// The kernel's count of the connections to an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KernelCount {
    pub(crate) established: u64,
    pub(crate) connecting: u64,
    /// The peer has closed, and this process has not.
    pub(crate) close_wait: u64,
    /// Closed by this side, and not by the peer yet: of all processes.
    pub(crate) closing: u64,
    /// Of all processes.
    pub(crate) time_wait: u64,
}

/// The source of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    SockDiag,
    Proc,
}

/// The counts of all addresses that were asked for.
#[derive(Debug)]
pub(crate) struct KernelCounts {
    pub(crate) source: Source,
    tcp: HashMap<SocketAddr, KernelCount>,
    unix: HashMap<Vec<u8>, u64>,
}

impl KernelCounts {
    /// Counts the connections of this process to some addresses.
    ///
    /// # Errors
    /// The kernel shows its sockets neither by sock_diag nor in /proc.
    pub(crate) fn of<'a>(addresses: impl IntoIterator<Item = &'a SocketAddress>) -> io::Result<Self> {
        let (mut peers, mut has_unix) = (BTreeSet::new(), false);
        for address in addresses {
            match address {
                SocketAddress::Inet(address) => _ = peers.insert(*address),
                SocketAddress::Unix(_) => has_unix = true,
            }
        }
        let (source, sockets) = tcp_sockets(&peers)?;
        let own = proc::own_inodes()?;
        let unix = if has_unix { unix_peers(&own) } else { HashMap::new() };
        let mut tcp = HashMap::new();
        for socket in sockets {
            tcp.entry(socket.peer).or_insert_with(KernelCount::default).add(&socket, &own);
        }
        Ok(Self { source, tcp, unix })
    }

    /// Returns the count of an address.
    pub(crate) fn count(&self, address: &SocketAddress) -> KernelCount {
        match address {
            SocketAddress::Inet(address) => self.tcp.get(address).copied().unwrap_or_default(),
            SocketAddress::Unix(socket) => {
                let established = self.unix.get(&name(socket)).copied().unwrap_or_default();
                KernelCount { established, ..KernelCount::default() }
            }
        }
    }
}

fn name(socket: &UnixSocket) -> Vec<u8> {
    socket.path().into_os_string().into_encoded_bytes()
}

/// Returns the sockets to these peers, of all processes.
fn tcp_sockets(peers: &BTreeSet<SocketAddr>) -> io::Result<(Source, Vec<TcpSocket>)> {
    let mut sockets = Vec::new();
    let mut keep =
        |socket: TcpSocket| sockets.extend(Some(socket).filter(|socket| peers.contains(&socket.peer)));
    let by_netlink = SockDiag::open().and_then(|netlink| inet::dump(&netlink, peers, &mut keep));
    if by_netlink.is_ok() {
        return Ok((Source::SockDiag, sockets));
    }
    sockets.clear();
    proc::tcp(|socket| sockets.extend(Some(socket).filter(|socket| peers.contains(&socket.peer))))?;
    Ok((Source::Proc, sockets))
}

/// Returns the connections to Unix sockets by name; none if the kernel does not tell.
fn unix_peers(own: &HashSet<u64>) -> HashMap<Vec<u8>, u64> {
    let counts = SockDiag::open().and_then(|netlink| unix::peers(&netlink, |inode| own.contains(&inode)));
    counts.unwrap_or_default()
}

impl KernelCount {
    fn add(&mut self, socket: &TcpSocket, own: &HashSet<u64>) {
        let is_own = own.contains(&socket.inode);
        match socket.state {
            State::Established if is_own => self.established += 1,
            State::Connecting if is_own => self.connecting += 1,
            State::CloseWait if is_own => self.close_wait += 1,
            State::Closing if is_own || socket.inode == 0 => self.closing += 1,
            State::TimeWait => self.time_wait += 1,
            _ => {}
        }
    }

    /// Returns the number of connections that this process has open or is opening.
    pub(crate) fn open(&self) -> u64 {
        self.established + self.connecting + self.close_wait
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_connections_of_this_process_are_counted() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let count = || KernelCounts::of([&address.into()]).unwrap().count(&address.into());
        let clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        // Another process that connects: bash has sockets of its own.
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; echo open; read", address.port());
        let mut other = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut io::BufReader::new(other.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert_eq!(line, "open\n");
        let found = count();
        assert_eq!((found.established, found.open()), (5, 5), "{found:?}");
        drop(other.stdin.take());
        other.wait().unwrap();
        drop(clients);
        let found = count();
        assert_eq!(found.open(), 0, "{found:?}");
        assert!(found.closing + found.time_wait >= 5, "they have no owner any more: {found:?}");
    }
}
