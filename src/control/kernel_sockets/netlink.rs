//! Dumps of the kernel's sockets by netlink: sock_diag(7).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use rustix::net::{recv, send, socket_with};

/// The room for one part of a dump; the kernel fills no more than this.
const PART_MAX: usize = 32 << 10;

/// The longest wait for a part. The kernel makes each when it is read, so there is none in practice.
const PATIENCE: Duration = Duration::from_secs(1);

// linux/netlink.h, linux/sock_diag.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER: usize = 16;

/// A netlink socket for dumps of sockets.
pub(super) struct SockDiag(OwnedFd);

impl SockDiag {
    /// # Errors
    /// The kernel has no sock_diag, or forbids it.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends a request for a dump, and calls `each` with the payload of every message of the response.
    ///
    /// # Errors
    /// The kernel does not know the request, or lacks the memory for the response.
    pub(super) fn dump(&self, request: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let length = u32::try_from(HEADER + request.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + request.len());
        message.extend(length.to_ne_bytes());
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        message.extend([0; 8]); // sequence and port
        message.extend(request);
        send(&self.0, &message, SendFlags::empty())?;
        let mut part = vec![0; PART_MAX];
        loop {
            let (received, _) = recv(&self.0, part.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = part.get(..received).unwrap_or_default();
            while !rest.is_empty() {
                let Some((kind, payload, behind)) = split_message(rest) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                rest = behind;
                match kind {
                    SOCK_DIAG_BY_FAMILY => each(payload),
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return Err(error(payload)),
                    _ => {}
                }
            }
        }
    }
}

/// Splits the first message off: its type, its payload, and the messages behind it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16_at(bytes, 4)?, payload, behind))
}

fn error(payload: &[u8]) -> io::Error {
    let code = u32_at(payload, 0).map_or(0, u32::cast_signed);
    Errno::from_raw_os_error(code.wrapping_neg()).into()
}

/// Returns the number at a place of a message, in the order of bytes of this machine.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Returns the number at a place of a message, in the order of bytes of this machine.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Returns an attribute with this payload, padded.
pub(super) fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + payload.len()).unwrap_or(u16::MAX);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(payload);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Iterates over the attributes of a message: their types and payloads.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let attribute = (u16_at(bytes, 2)?, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}
