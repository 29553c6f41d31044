//! The PROXY protocol, versions 1 and 2, by which a load balancer in front names its client.

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of the largest header that is accepted. Version 2 has 16 bytes and then as many as a 16-bit length says.
/// This limit has room for every address and many TLVs, and no known proxy sends more.
const HEADER_BYTES_MAX: usize = 4096;

/// The length of the longest line of version 1, its CRLF included (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// Reads the header at the beginning of a trusted proxy's connection. Returns the client that it names and the bytes
/// behind it. The client is `None` if the proxy speaks for itself, as its health checks do. `bytes` receives what has
/// arrived so far.
///
/// # Errors
/// The connection does not begin with a whole and valid header.
pub(crate) async fn read(
    socket: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
) -> io::Result<(Option<SocketAddr>, Bytes)> {
    loop {
        if socket.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = HeaderResult::parse(bytes);
        if is_unfinished(bytes, &header) {
            continue;
        }
        let (client, length) = client(&header).ok_or(io::ErrorKind::InvalidData)?;
        let rest = bytes.split_off(length.min(bytes.len()));
        return Ok((client, rest.freeze()));
    }
}

/// Returns true if more bytes can complete this header. For a line of version 1 the parser's verdict is not enough: it
/// rejects a line that stops in the middle of a port, and takes a complete line without ports for incomplete.
fn is_unfinished(bytes: &[u8], header: &HeaderResult<'_>) -> bool {
    let is_line = bytes.iter().zip(b"PROXY ").all(|(byte, expected)| byte == expected);
    if is_line {
        return bytes.len() < LINE_BYTES_MAX && !bytes.contains(&b'\n');
    }
    bytes.len() < HEADER_BYTES_MAX && header.is_incomplete()
}

fn client(header: &HeaderResult<'_>) -> Option<(Option<SocketAddr>, usize)> {
    match header {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(addresses) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                v1::Addresses::Tcp6(addresses) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                v1::Addresses::Unknown => None,
            };
            Some((client, header.header.len()))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match header.addresses {
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(addresses) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                v2::Addresses::IPv6(addresses) => {
                    Some((addresses.source_address, addresses.source_port).into())
                }
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            Some((client, header.len()))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;

    async fn read_fresh(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(Option<SocketAddr>, Bytes)> {
        read(socket, &mut BytesMut::new()).await
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice();
        let version_2 = [start, &[192, 0, 2, 7, 0, 0, 0, 0, 0, 1, 0, 2]].concat();
        for (header, port) in [
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n".as_slice(), 4660),
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 8080\r\n", 4660),
            (&version_2, 1),
        ] {
            // The buffer has room for one byte at a time.
            let (mut proxy, mut socket) = tokio::io::duplex(1);
            let sending = async { proxy.write_all(header).await.unwrap() };
            let ((), read) = tokio::join!(sending, read_fresh(&mut socket));
            assert_eq!(
                read.unwrap(),
                (Some(([192, 0, 2, 7], port).into()), Bytes::new()),
                "{}",
                header.escape_ascii()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_begin_no_proxy_header_are_refused_at_once() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; LINE_BYTES_MAX]].concat();
        for bytes in [b"G".as_slice(), b"PROXZ", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY\n", &endless] {
            let (mut proxy, mut socket) = tokio::io::duplex(1024);
            proxy.write_all(bytes).await.unwrap();
            let read = timeout(Duration::from_secs(1), read_fresh(&mut socket)).await;
            assert!(read.is_ok_and(|read| read.is_err()), "{}", bytes.escape_ascii());
        }
    }
}
