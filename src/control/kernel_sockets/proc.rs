//! Sockets in /proc: the inodes of this process, and TCP sockets where there is no sock_diag.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fs, io};

use rustix::fs::readlinkat;

use super::inet::TcpSocket;
use super::state::State;

/// The descriptors of this process.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Returns the inodes of the sockets that this process has open.
///
/// # Errors
/// There is no /proc.
pub(super) fn own_inodes() -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    // Relative to the folder: the way to it costs a third of a look-up.
    let folder = fs::File::open(DESCRIPTORS)?;
    let mut target = Vec::new();
    for entry in fs::read_dir(DESCRIPTORS)? {
        // The descriptor may have been closed meanwhile.
        let Ok(read) = readlinkat(&folder, entry?.file_name(), target) else {
            target = Vec::new();
            continue;
        };
        inodes.extend(read.to_str().ok().and_then(socket_inode));
        target = read.into_bytes();
    }
    Ok(inodes)
}

fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Calls `each` with the TCP sockets of this network namespace.
///
/// # Errors
/// There is no /proc.
pub(super) fn tcp(mut each: impl FnMut(TcpSocket)) -> io::Result<()> {
    for (file, is_needed) in [("/proc/self/net/tcp", true), ("/proc/self/net/tcp6", false)] {
        match fs::read_to_string(file) {
            Ok(table) => table.lines().filter_map(parse).for_each(&mut each),
            Err(error) if is_needed => return Err(error),
            Err(_no_ipv6) => {}
        }
    }
    Ok(())
}

/// Parses a line: `1: 0100007F:C350 0100007F:1F90 01 … uid timeout inode`.
fn parse(line: &str) -> Option<TcpSocket> {
    let mut columns = line.split_ascii_whitespace();
    let peer = address(columns.nth(2)?)?;
    let state = State::from_number(u8::from_str_radix(columns.next()?, 16).ok()?)?;
    let inode = columns.nth(5)?.parse().ok()?;
    Some(TcpSocket { peer, state, inode })
}

/// Parses an address: words of 32 bits in the order of bytes of this machine, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |index: usize| {
        let digits = ip.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn lines_of_the_table_are_parsed() {
        let line = " 7: 0100007F:C350 0100007F:1F90 06 00000000:00000000 03:0000175E 00000000  0  0 0 3 00";
        let found = parse(line).unwrap();
        assert_eq!(
            (found.peer, found.state, found.inode),
            (([127, 0, 0, 1], 8080).into(), State::TimeWait, 0)
        );
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
        assert_eq!(address("00000000000000000000000001000000:0050"), Some("[::1]:80".parse().unwrap()));
    }

    #[test]
    fn table_has_the_sockets_of_this_process_by_their_inodes() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let server = TcpListener::bind(listen).unwrap();
            let address = server.local_addr().unwrap();
            let _client = TcpStream::connect(address).unwrap();
            let own = own_inodes().unwrap();
            let mut found = Vec::new();
            tcp(|socket| found.push(socket)).unwrap();
            found.retain(|socket| socket.peer == address && own.contains(&socket.inode));
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
