//! nghttpd, with small windows and few streams, and padding in its frames. It has no GOAWAY when it ends, so its connections break.

use std::fs;
use std::net::SocketAddr;

use support::bytes::Bytes;
use support::http::Request;
use support::{Certificates, Http2Client, Signal, unused_address, wait_until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{LARGE, bytes, field, gateway, get, get_until, post};
use crate::pooled::{ROUTE, number};
use crate::programs::{Server, program};

/// The streams that it takes on a connection.
const STREAMS: usize = 10;

/// The options with which it sends back what it is sent.
const ECHO: &[&str] = &["--echo-upload", "--trailer", "x-end: none"];

/// A running nghttpd. It serves a folder in which `/` has its name, and `/file` more than a window.
struct Nghttpd {
    server: Server,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nghttpd {
    async fn start(name: &str, certificates: Option<&Certificates>, options: &[&str]) -> Self {
        let address = unused_address();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("index.html"), name).unwrap();
        fs::write(folder.path().join("file"), bytes(LARGE)).unwrap();
        let (root, ip, port) =
            (folder.path().display().to_string(), address.ip().to_string(), address.port().to_string());
        let streams = STREAMS.to_string();
        let limits = ["-m", &streams, "-w", "12", "-W", "16", "-b", "100"];
        let place = ["-a", &ip, "-d", &root];
        let server = match certificates.map(|certificates| certificates.server(&[&ip])) {
            Some(identity) => {
                let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
                let arguments = [&limits[..], &place, options, &[&port, &key, &cert]].concat();
                Server::spawn(&program("nghttpd"), &arguments, address.port())
            }
            None => {
                let arguments = [&limits[..], &place, options, &["--no-tls", &port]].concat();
                Server::spawn(&program("nghttpd"), &arguments, address.port())
            }
        };
        wait_until("nghttpd to accept", async || TcpStream::connect(address).await.is_ok()).await;
        Self { server, address, _folder: folder }
    }
}

/// Runs a test in the clear and with TLS.
async fn both(test: impl AsyncFn(Option<&Certificates>)) {
    test(None).await;
    test(Some(&Certificates::new())).await;
}

#[tokio::test]
async fn bodies_and_trailers_pass_to_nghttpd_and_back() {
    both(async |certificates| {
        let one = Nghttpd::start("one", certificates, ECHO).await;
        let gateway = gateway(&[one.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let response = get(&mut client, "/").await;
        assert_eq!((&*response.body, field(&response.trailers, "x-end")), (&b"one"[..], "none"));
        assert!(get(&mut client, "/file").await.body == bytes(LARGE));
        for length in [0, 11, LARGE, 3 * LARGE] {
            let response = client.request(post(bytes(length))).await;
            assert_eq!(response.status, 200, "{response:?}");
            assert!(response.body == bytes(length), "{length} bytes");
        }
        let response = gateway.client("web").await.request("POST", "/echo", &[], &bytes(LARGE)).await;
        assert!(response.body == bytes(LARGE));
        let pool = gateway.pool(ROUTE).await;
        assert_eq!(number(&pool, "opened"), 1, "{pool:#}");
    })
    .await;
}

#[tokio::test]
async fn requests_beyond_the_streams_of_nghttpd_go_over_further_connections() {
    both(async |certificates| {
        let one = Nghttpd::start("one", certificates, ECHO).await;
        let gateway = gateway(&[one.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let mut uploads = Vec::new();
        for _ in 0..3 * STREAMS {
            uploads.push(client.open(post(Vec::new()).map(drop), false).await.unwrap());
        }
        gateway
            .wait_for_pool(ROUTE, "a stream each", |pool| number(pool, "streams") == 3 * STREAMS as u64)
            .await;
        for (response, mut stream) in uploads {
            stream.send_data("hello".into(), true).unwrap();
            assert_eq!(Http2Client::read(response).await.unwrap().body, b"hello");
        }
        let pool = gateway.pool(ROUTE).await;
        assert_eq!(number(&pool, "opened"), 3, "{pool:#}");
    })
    .await;
}

/// Then nghttpd resets the stream with NO_ERROR (RFC 9113 §8.1).
#[tokio::test]
async fn early_response_of_nghttpd_arrives_while_the_upload_goes_on() {
    both(async |certificates| {
        let one = Nghttpd::start("one", certificates, &["--early-response"]).await;
        let gateway = gateway(&[one.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        for _ in 0..=STREAMS {
            let request = Request::post("http://a/file").body(()).unwrap();
            let (response, mut stream) = client.open(request, false).await.unwrap();
            stream.send_data(Bytes::from_static(b"begun"), false).unwrap();
            let response = Http2Client::read(response).await.unwrap();
            assert_eq!(response.status, 200, "{response:?}");
            assert!(response.body == bytes(LARGE));
        }
        let pool = gateway.pool(ROUTE).await;
        assert_eq!(number(&pool, "opened"), 1, "{pool:#}");
    })
    .await;
}

#[tokio::test]
async fn requests_outlive_the_end_of_one_of_two_nghttpd() {
    both(async |certificates| {
        let mut one = Nghttpd::start("one", certificates, ECHO).await;
        let two = Nghttpd::start("two", certificates, ECHO).await;
        let gateway = gateway(&[one.address, two.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        get(&mut client, "/").await;
        get(&mut client, "/").await;
        one.server.signal(Signal::TERM);
        get_until(&mut client, "two").await;
        let _ended = one.server.wait_exit().await;
    })
    .await;
}
