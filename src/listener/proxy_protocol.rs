//! The PROXY protocol, versions 1 and 2: a load balancer in front tells whom it speaks for.

use std::io;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The largest header: version 2 has 16 bytes and then as many as a 16-bit length says; more than this, which is
/// room for every address and many TLVs, nobody sends.
const HEADER_BYTES_MAX: usize = 4096;

/// The longest line of version 1, its CRLF included (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// Reads the header that a trusted proxy's connection begins with: the client that it names (`None` when the
/// proxy speaks for itself, as its health checks do), and the bytes behind it.
///
/// # Errors
/// The connection does not begin with a whole and valid header.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<(Option<IpAddr>, Bytes)> {
    let mut bytes = BytesMut::with_capacity(256);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_unfinished_line(&bytes) {
            continue;
        }
        let header = HeaderResult::parse(&bytes);
        if header.is_incomplete() && bytes.len() < HEADER_BYTES_MAX {
            continue;
        }
        let (client, length) = client(&header).ok_or(io::ErrorKind::InvalidData)?;
        let rest = bytes.split_off(length.min(bytes.len()));
        return Ok((client, rest.freeze()));
    }
}

/// Whether these are the first bytes of a version 1 line without its end. The parser takes a line that stops in the midst
/// of an address or a port for a wrong one.
fn is_unfinished_line(bytes: &[u8]) -> bool {
    let is_line = bytes.iter().zip(b"PROXY ").all(|(byte, expected)| byte == expected);
    is_line && bytes.len() < LINE_BYTES_MAX && !bytes.contains(&b'\n')
}

fn client(header: &HeaderResult<'_>) -> Option<(Option<IpAddr>, usize)> {
    match header {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
                v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
                v1::Addresses::Unknown => None,
            };
            Some((client, header.header.len()))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match header.addresses {
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(addresses) => Some(addresses.source_address.into()),
                v2::Addresses::IPv6(addresses) => Some(addresses.source_address.into()),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            Some((client, header.len()))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}
