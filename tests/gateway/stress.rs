//! Everything at once, many times: whatever goes wrong, every client hears of it and the pools' numbers agree.

use support::{Certificates, Client, Connection, Origin, wait_until};
use tokio::task::JoinSet;

use crate::pooled::{self, OK, number, settled};

const CLIENTS: u64 = 12;
const REQUESTS: usize = 20;
const MAX_CONNECTIONS: usize = 4;

/// A sequence of numbers that looks random and is always the same (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

const LARGE: usize = 200_000;

/// Does what the path of each request says.
async fn obey(mut connection: Connection) {
    while let Some(head) = connection.read_head().await {
        let target = head.first_line.clone();
        // These end before the request's body has been read.
        if target.contains("/early-close") {
            return;
        }
        if target.contains("/early-answer") {
            return connection.write("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        }
        if connection.read_body(&head).await.is_none() {
            return;
        }
        match target.split(' ').nth(1).unwrap_or_default() {
            "/close" => return,
            "/reset" => return connection.reset(),
            "/garbage" => connection.write("I am no HTTP server\r\n\r\n").await,
            "/truncated" => {
                return connection.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
            }
            "/bad-chunk" => {
                connection
                    .write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n")
                    .await;
            }
            "/extra" => connection.write(format!("{OK}HTTP/1.1 200 OK\r\n\r\n")).await,
            "/last" => {
                connection.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
                return;
            }
            "/goodbye" => {
                connection.write(OK).await;
                return;
            }
            "/stall" => {
                connection.wait_closed().await;
                return;
            }
            "/half-stall" => {
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
                connection.wait_closed().await;
                return;
            }
            "/large" => {
                connection.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
                connection.write(vec![b'x'; LARGE]).await;
            }
            _ => connection.write(OK).await,
        }
    }
}

const PATHS: [&str; 18] = [
    "/ok",
    "/ok",
    "/ok",
    "/ok",
    "/ok",
    "/large",
    "/close",
    "/reset",
    "/garbage",
    "/truncated",
    "/bad-chunk",
    "/extra",
    "/last",
    "/goodbye",
    "/stall",
    "/half-stall",
    "/early-close",
    "/early-answer",
];

/// One request of a client that behaves, or doesn't. Whether its connection can go on.
///
/// A client that waits for an answer fails the test where there is neither an answer nor a close.
async fn request(client: &mut Client, numbers: &mut Numbers) -> bool {
    let path = PATHS[numbers.below(PATHS.len() as u64) as usize];
    let (method, body) = match numbers.below(4) {
        0 => ("POST", 10),
        1 => ("POST", 60_000),
        _ => ("GET", 0),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {body}\r\n\r\n");
    let body = vec![b'b'; body];
    match numbers.below(8) {
        // Leaves within its request, …
        0 => {
            drop(client.try_send_raw(&head[..head.len() / 2]).await);
            false
        }
        1 => {
            drop(client.try_send_raw([head.as_bytes(), &body[..body.len() / 2]].concat()).await);
            false
        }
        // … before its answer, or within it.
        2 => {
            drop(client.try_send_raw([head.as_bytes(), &body].concat()).await);
            false
        }
        3 => {
            if client.try_send_raw([head.as_bytes(), &body].concat()).await.is_ok() {
                drop(client.try_read_some().await);
            }
            false
        }
        _ => {
            client.try_send_raw([head.as_bytes(), &body].concat()).await.is_ok()
                && client.try_read_response().await.is_ok()
        }
    }
}

#[tokio::test]
async fn every_client_is_answered_and_no_connection_is_lost_whatever_fails() {
    let certificates = Certificates::new();
    let tls = Origin::builder().tls(certificates.server_config(&certificates.server(&["localhost"])));
    for (origin, keep_alive) in
        [(Origin::script(obey), true), (Origin::script(obey), false), (tls.script(obey), true)]
    {
        let keys = format!(
            "pool: {{ keep_alive: {keep_alive}, max_connections: {MAX_CONNECTIONS}, max_idle: 2, max_connecting: 2, \
             max_pending: 7, acquire_timeout: 300ms, idle_timeout: 50ms, max_requests: 9, max_lifetime: 400ms }}\n\
             timeouts: {{ response_header: 100ms, idle: 100ms, request: 1s }}"
        );
        let upstream = pooled::upstream(&origin, &certificates);
        let gateway = pooled::builder(2, &upstream, &keys).start().await;
        let address = gateway.addr("web");
        let mut clients = JoinSet::new();
        for seed in 0..CLIENTS {
            clients.spawn(async move {
                let mut numbers = Numbers(seed);
                let mut client = Client::connect(address).await;
                for _ in 0..REQUESTS {
                    if !request(&mut client, &mut numbers).await {
                        client = Client::connect(address).await;
                    }
                }
            });
        }
        for _ in 0..20 {
            let open = pooled::sockets(&gateway, origin.addr()).await;
            assert!(open <= MAX_CONNECTIONS, "{open} connections");
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let pool = settled(&gateway).await;
        assert!(number(&pool, "acquired") > 50, "{pool:#}");
        origin.wait_for_open(0).await;
        assert_eq!(number(&settled(&gateway).await, "idle"), 0);
        // The limits are so short that an origin in a process that stands still for a moment does not keep them.
        let is_served = async || Client::connect(address).await.get("/ok").await.status == 200;
        wait_until("a request to be served as ever", is_served).await;
    }
}
