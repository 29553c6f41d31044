//! Listening sockets: one for each worker, all on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::load::code::Code;
use crate::config::{ConfigError, Loaded, Segment};

/// The number of connections that the kernel keeps until they are accepted. The kernel's own limit applies if it is lower.
pub(crate) const BACKLOG: i32 = 4096;

/// Binds `address` once for each worker; port 0 becomes the same free port for all of them. Returns the address with
/// its actual port. Clients are refused until [`listen`]. An IPv6 address is IPv6 only: `0.0.0.0:80` and `[::]:80` can
/// be two listeners.
///
/// `going` are the addresses that this process still listens on and will close. If one of them overlaps with `address`,
/// as `0.0.0.0:80` does with `127.0.0.1:80`, both listen side by side until then, and connections arrive at the more
/// specific one.
pub(crate) fn bind(
    address: SocketAddr,
    workers: usize,
    going: &[SocketAddr],
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Sockets with SO_REUSEPORT would silently share a port with another process of the same user. A socket without it
    // detects that process, unless one of our own sockets is in its way. In that case it only detects programs that do
    // not share their port themselves, or that belong to another user.
    if !going.iter().any(|going| overlaps(*going, address)) {
        check_unused(address)?;
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, true)?);
    }
    Ok((address, sockets))
}

/// Starts listening on the sockets of [`bind`], which have this address. `going` is the same as there.
///
/// # Errors
/// Another program has begun to listen on the address since.
pub(crate) fn listen<'a>(
    address: SocketAddr,
    sockets: impl IntoIterator<Item = &'a TcpListener>,
    going: &[SocketAddr],
) -> io::Result<()> {
    // Systems other than Linux do not bind an address twice, so they have detected that program when it bound.
    if cfg!(target_os = "linux") && !going.iter().any(|going| overlaps(*going, address)) {
        check_unused(address)?;
    }
    sockets.into_iter().try_for_each(|socket| SockRef::from(socket).listen(BACKLOG))
}

/// Fails if another socket listens on this address.
fn check_unused(address: SocketAddr) -> io::Result<()> {
    SockRef::from(&open(address, false)?).listen(BACKLOG)
}

/// Keeps further clients out of a listening socket. The first packet of a handshake (SYN without ACK, RFC 9293 §3.5) is
/// dropped, and all others pass. The client sends it again after a second, when the socket is closed, and reaches
/// another one on this address, or is refused. If the operating system cannot do that, clients are admitted until the
/// socket is closed.
pub(crate) fn keep_out(socket: &tokio::net::TcpListener) {
    #[cfg(target_os = "linux")]
    {
        /// The offset of the flags in a TCP header.
        const FLAGS: u32 = 13;
        const SYN: u32 = 0x02;
        const SYN_OR_ACK: u32 = 0x12;
        // Classic BPF (the kernel's networking/filter.rst): load a byte, mask it, compare it, drop or pass.
        let filter = [
            SockFilter::new(0x30, 0, 0, FLAGS),
            SockFilter::new(0x54, 0, 0, SYN_OR_ACK),
            SockFilter::new(0x15, 0, 1, SYN),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        // Best effort: without the filter, a connection that arrives as the socket closes may be reset.
        drop(SockRef::from(socket).attach_filter(&filter));
    }
    #[cfg(not(target_os = "linux"))]
    let _not_possible = socket;
}

/// Returns true if a connection could arrive at either of two addresses.
pub(crate) fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}

/// Returns the error for an address that could not be bound, with what to do about it. `own` are the addresses that this process
/// listens on and keeps.
pub(crate) fn cannot_bind(
    loaded: &Loaded,
    place: &[Segment],
    address: SocketAddr,
    error: &io::Error,
    own: &[SocketAddr],
) -> ConfigError {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse if own.iter().any(|own| overlaps(*own, address)) => {
            "the gateway itself listens there: write another port"
        }
        io::ErrorKind::AddrInUse => {
            "another program listens there (`ss -ltnp` shows which): stop it, or write another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: write a higher one, or grant it"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: write one of its own",
        _ => "write another address",
    };
    loaded
        .source
        .error(Code::AddressUnavailable, place, format!("cannot listen on this address: {error}"))
        .help(help)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    fn listening(workers: usize) -> (SocketAddr, Vec<TcpListener>) {
        let (address, sockets) = bind(ANY_PORT.into(), workers, &[]).unwrap();
        listen(address, &sockets, &[]).unwrap();
        (address, sockets)
    }

    #[test]
    fn sockets_refuse_clients_until_they_listen() {
        let (address, sockets) = bind(ANY_PORT.into(), 2, &[]).unwrap();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        listen(address, &sockets, &[]).unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_program_that_listens_first_is_an_error_of_listening() {
        let (address, sockets) = bind(ANY_PORT.into(), 2, &[]).unwrap();
        // Another gateway starts at the same time. Neither listens yet, so both can bind.
        let (_, others) = bind(address, 2, &[]).unwrap();
        listen(address, &others, &[]).unwrap();
        assert_eq!(listen(address, &sockets, &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn workers_share_a_port_and_other_sockets_cannot_bind_it() {
        let (address, sockets) = listening(3);
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind(address, 1, &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_overlaps_with_our_own_is_ours_to_bind() {
        let (own, _sockets) = listening(2);
        let all = SocketAddr::from(([0, 0, 0, 0], own.port()));
        assert_eq!(bind(all, 2, &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let (_, _wide) = bind(all, 2, &[own]).unwrap();
    }

    #[test]
    fn another_program_is_found_beside_our_own_sockets() {
        let (own, _sockets) = listening(2);
        let _other = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], own.port()))).unwrap();
        let all = SocketAddr::from(([0, 0, 0, 0], own.port()));
        assert_eq!(bind(all, 2, &[own]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn addresses_overlap_where_one_has_all_of_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "0.0.0.0:80", false),
        ] {
            assert_eq!(overlaps(one.parse().unwrap(), other.parse().unwrap()), expected, "{one} {other}");
        }
    }
}
