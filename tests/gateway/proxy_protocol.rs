//! The PROXY protocol: a load balancer in front tells whom it speaks for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use support::{Certificates, Client, Gateway, Origin, with_longer_and_longer};

use crate::gateway;

/// The one peer that is trusted; other addresses of the loopback network are not.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn start(origin: &Origin, keys: &str) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, proxy_protocol: accept, {keys} }]
trusted_proxies: [127.0.0.2]
admin: { address: 127.0.0.1:0 }
routes: [{ match: { prefix: / }, upstream: { url: '{origin}' } }]",
    )
    .set("origin", origin.url())
    .set("keys", keys)
    .start()
    .await
}

/// A header of version 2 (the protocol's §2.2) with this command, family and address block.
fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x20 | command, family], &length, block].concat()
}

fn version_2_ipv4() -> Vec<u8> {
    version_2(1, 0x11, &[192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0, 80])
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_in_either_version() {
    let origin = Origin::echo();
    let gateway = start(&origin, "").await;
    let ipv6 = [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], [0; 16]].concat();
    let ipv6 = [ipv6.as_slice(), &[0x12, 0x34, 0, 80]].concat();
    // TLVs, such as cloud balancers add, follow the addresses.
    let with_tlvs = [&[192, 0, 2, 8, 127, 0, 0, 1, 0x12, 0x34, 0, 80], [0xea; 300].as_slice()].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::9 ::1 4660 80\r\n".to_vec(), "2001:db8::9"),
        (version_2_ipv4(), "192.0.2.7"),
        (version_2(1, 0x21, &ipv6), "2001:db8::9"),
        (version_2(1, 0x11, &with_tlvs), "192.0.2.8"),
        // Health checks of the balancer itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2"),
        (version_2(0, 0, &[]), "127.0.0.2"),
    ] {
        // At once with the request, and byte by byte before it.
        for pieces in [vec![[header.as_slice(), REQUEST.as_bytes()].concat()], {
            let bytes = header.iter().map(|byte| vec![*byte]);
            bytes.chain([REQUEST.as_bytes().to_vec()]).collect()
        }] {
            let shown = header.escape_ascii().to_string();
            let mut proxy = Client::connect_from(BALANCER, gateway.addr("web")).await;
            for piece in pieces {
                proxy.send_raw(piece).await;
            }
            assert_eq!(proxy.read_response().await.status, 200, "{shown}");
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.headers.all("x-forwarded-for"), [client], "{shown}");
            gateway.wait_for_stdout(&format!("\"client\":\"{client}\"")).await;
            // The header counts for all requests of its connection.
            proxy.get("/").await;
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.headers.all("x-forwarded-for"), [client], "{shown}");
        }
    }
}

#[tokio::test]
async fn a_header_from_anyone_else_is_no_http_and_none_from_a_proxy_is_a_close() {
    with_longer_and_longer(from_anyone_else_or_missing).await;
}

async fn from_anyone_else_or_missing(limit: Duration) {
    let origin = Origin::echo();
    let timeouts = format!("timeouts: {{ tls_handshake: off, request_header: {}ms }}", limit.as_millis());
    let gateway = start(&origin, &timeouts).await;
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n".as_slice();
    // A header of version 1 reads like a request line without an HTTP version.
    for (header, status) in [(header, 505), (&version_2_ipv4(), 400)] {
        let mut stranger = gateway.client("web").await;
        stranger.send_raw([header, REQUEST.as_bytes()].concat()).await;
        assert_eq!(stranger.read_response().await.status, status);
        stranger.expect_closed().await;
    }
    let mut stranger = gateway.client("web").await;
    assert_eq!(stranger.get("/").await.status, 200, "who is not trusted needs no header");

    let unfinished = &version_2_ipv4()[..20];
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let oversized = version_2(1, 0x11, &[0; 60_000]);
    for bytes in [REQUEST.as_bytes(), b"PROXY TCP4 nonsense\r\n", b"", unfinished, &endless, &oversized] {
        let mut proxy = Client::connect_from(BALANCER, gateway.addr("web")).await;
        drop(proxy.try_send_raw(bytes).await);
        proxy.expect_closed().await;
    }
    gateway.wait_for_log("no valid PROXY header").await;
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_header_comes_before_tls_and_decides_whose_connection_counts() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let origin = Origin::echo();
    let gateway = start(&origin, "limits: { connections_per_client: 1 }").await;
    let mut kept = Vec::new();
    for last in 1..=3 {
        let mut proxy = Client::connect_from(BALANCER, gateway.addr("web")).await;
        proxy.send_raw(format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 4660 80\r\n{REQUEST}")).await;
        assert_eq!(proxy.read_response().await.status, 200, "client {last}");
        kept.push(proxy);
    }
    let mut second = Client::connect_from(BALANCER, gateway.addr("web")).await;
    second.send_raw("PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n").await;
    second.expect_closed().await;

    let keys = format!(
        "tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }}",
        identity.cert.display(),
        identity.key.display()
    );
    let gateway = start(&origin, &keys).await;
    let config = certificates.client_config(&[]);
    let header = b"PROXY TCP4 192.0.2.9 127.0.0.1 4660 80\r\n";
    let mut proxy = Client::connect_tls_after(BALANCER, gateway.addr("web"), header, &config, "a.test").await;
    assert_eq!(proxy.get("/").await.status, 200);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.headers.all("x-forwarded-for"), ["192.0.2.9"]);
    assert_eq!(request.headers.all("x-forwarded-proto"), ["https"]);
}
