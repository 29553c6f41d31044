//! Unix sockets by sock_diag. A client's socket has no name; that of its peer is the path that it has connected to.

use std::collections::HashMap;
use std::io;

use super::netlink::{SockDiag, attributes, u32_at};

// linux/unix_diag.h
const AF_UNIX: u8 = 1;
const ESTABLISHED: u32 = 1 << 1;
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
/// The bytes of `struct unix_diag_msg`, before its attributes.
const MESSAGE: usize = 16;

/// Returns how many of the connected sockets with these inodes have a peer with a name, by this name: a path, or behind a NUL byte
/// an abstract name.
///
/// # Errors
/// See [`SockDiag::dump`].
pub(super) fn peers(netlink: &SockDiag, is_own: impl Fn(u64) -> bool) -> io::Result<HashMap<Vec<u8>, u64>> {
    let (mut names, mut peers) = (HashMap::new(), Vec::new());
    netlink.dump(&request(), |message| {
        let Some(inode) = u32_at(message, 4) else { return };
        for (kind, payload) in attributes(message.get(MESSAGE..).unwrap_or_default()) {
            match kind {
                UNIX_DIAG_NAME => drop(names.insert(inode, name(payload).to_vec())),
                UNIX_DIAG_PEER if is_own(inode.into()) => peers.extend(u32_at(payload, 0)),
                _ => {}
            }
        }
    })?;
    let mut counts = HashMap::new();
    for name in peers.iter().filter_map(|peer| names.get(peer)) {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    Ok(counts)
}

/// Returns a name without the zero byte that ends a path, but not an abstract name.
fn name(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(&[0]).filter(|path| path.first() != Some(&0)).unwrap_or(payload)
}

/// Returns a request for the connected sockets with their names and peers: `struct unix_diag_req`.
fn request() -> Vec<u8> {
    let mut request = vec![AF_UNIX, 0, 0, 0];
    request.extend(ESTABLISHED.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes()); // any inode
    request.extend((UDIAG_SHOW_NAME | UDIAG_SHOW_PEER).to_ne_bytes());
    request.extend([0xff; 8]); // any cookie
    request
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::super::proc::own_inodes;
    use super::*;

    #[test]
    fn clients_are_counted_by_the_path_that_they_have_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let server = UnixListener::bind(&path).unwrap();
        let clients = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap()];
        let _accepted = [server.accept().unwrap(), server.accept().unwrap()];
        let own = own_inodes().unwrap();
        let counts = peers(&SockDiag::open().unwrap(), |inode| own.contains(&inode)).unwrap();
        assert_eq!(counts.get(path.as_os_str().as_encoded_bytes()), Some(&(clients.len() as u64)));
    }
}
