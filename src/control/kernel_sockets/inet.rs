//! TCP sockets by sock_diag, filtered in the kernel by the peer's port.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::netlink::{SockDiag, attribute, u32_at};
use super::state::State;

/// The most ports that the kernel compares with; for more it sends all sockets.
const PORTS_MAX: usize = 64;

// linux/in.h, linux/inet_diag.h
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_D_COND: u8 = 8;
/// The bytes of a condition on a port: an operation, and a host condition without an address.
const CONDITION: usize = 12;
/// The bytes of an operation.
const OPERATION: usize = 4;

/// A socket of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    /// 0 for a socket that no process has any more.
    pub(super) inode: u64,
}

/// Calls `each` with the sockets whose peers have one of these ports; it may get others, too.
///
/// # Errors
/// See [`SockDiag::dump`].
pub(super) fn dump(
    netlink: &SockDiag,
    peers: &BTreeSet<SocketAddr>,
    mut each: impl FnMut(TcpSocket),
) -> io::Result<()> {
    for (family, is_v4) in [(AF_INET, true), (AF_INET6, false)] {
        let peers = peers.iter().filter(|peer| peer.is_ipv4() == is_v4);
        let ports: BTreeSet<u16> = peers.map(SocketAddr::port).collect();
        if !ports.is_empty() {
            netlink.dump(&request(family, &ports), |message| {
                parse(message).into_iter().for_each(&mut each);
            })?;
        }
    }
    Ok(())
}

/// Returns a request for the sockets of a family whose peers have these ports: `struct inet_diag_req_v2`.
fn request(family: u8, ports: &BTreeSet<u16>) -> Vec<u8> {
    let mut request = vec![family, IPPROTO_TCP, 0, 0];
    request.extend(State::MASK.to_ne_bytes());
    request.extend([0; 40]); // no ports, addresses or interface
    request.extend([0xff; 8]); // any cookie
    if ports.len() <= PORTS_MAX {
        request.extend(attribute(INET_DIAG_REQ_BYTECODE, &filter(ports)));
    }
    request
}

/// Returns the program that accepts these ports of a peer: a condition for each, with a jump to the end behind all but the last. The
/// end accepts, and what is beyond it rejects.
fn filter(ports: &BTreeSet<u16>) -> Vec<u8> {
    let mut program = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let behind = ports.len() - 1 - index;
        let condition = CONDITION as u8;
        let otherwise = (CONDITION + OPERATION) as u16; // the next condition, or beyond the end
        program.extend([INET_DIAG_BC_D_COND, condition]);
        program.extend(otherwise.to_ne_bytes());
        program.extend([0; 4]); // any family, an address of no bits
        program.extend(i32::from(*port).to_ne_bytes());
        if behind > 0 {
            let rest = behind * (CONDITION + OPERATION); // one jump less, and this one
            program.extend([INET_DIAG_BC_JMP, OPERATION as u8]);
            program.extend((rest as u16).to_ne_bytes());
        }
    }
    program
}

/// Parses `struct inet_diag_msg`.
fn parse(message: &[u8]) -> Option<TcpSocket> {
    let [family, state, ..] = *message else { return None };
    let port = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
    let address = message.get(24..40)?;
    let ip: IpAddr = match family {
        AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(address.get(..4)?).ok()?).into(),
        AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        _ => return None,
    };
    let inode = u64::from(u32_at(message, 68)?);
    Some(TcpSocket { peer: SocketAddr::new(ip, port), state: State::from_number(state)?, inode })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn kernel_sends_only_sockets_to_the_ports_that_are_asked_for() {
        let netlink = SockDiag::open().unwrap();
        let servers: Vec<TcpListener> = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]
            .into_iter()
            .map(|address| TcpListener::bind(address).unwrap())
            .collect();
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.local_addr().unwrap()).collect();
        let _clients: Vec<TcpStream> = addresses
            .iter()
            .chain(&addresses[3..])
            .map(|address| TcpStream::connect(address).unwrap())
            .collect();
        for asked in [&addresses[..1], &addresses[..2], &addresses[1..], &addresses[..]] {
            let mut found = Vec::new();
            dump(&netlink, &asked.iter().copied().collect(), |socket| found.push(socket)).unwrap();
            for (index, address) in addresses.iter().enumerate() {
                let count = found
                    .iter()
                    .filter(|socket| {
                        socket.peer == *address && socket.state == State::Established && socket.inode != 0
                    })
                    .count();
                let clients = if index == 3 { 2 } else { 1 };
                assert_eq!(
                    count,
                    if asked.contains(address) { clients } else { 0 },
                    "{address} of {asked:?}"
                );
            }
        }
    }

    #[test]
    fn filter_of_many_ports_is_one_that_the_kernel_takes() {
        let netlink = SockDiag::open().unwrap();
        for count in [1, 2, 63, 64, 65] {
            let peers = (1..=count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
            dump(&netlink, &peers, |_| {}).unwrap();
        }
    }
}
