//! Backpressure: a peer that does not read holds up the peer that sends, and the gateway's memory does not grow.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::{Gate, Gateway, Http2Client, Origin, http, wait_until, within};

use crate::PROGRAM;
use crate::one_route::forwarding_to;

/// Bytes of an unread body that the kernel and the gateway may hold. Socket buffers grow to a few MiB each, on two
/// connections, for reading and for writing.
pub(crate) const IN_FLIGHT_MAX: u64 = 40 << 20;

/// Bytes by which the gateway's own memory may grow for a body that is far larger.
pub(crate) const MEMORY_MAX: u64 = 16 << 20;

/// Waits until `counter` has stopped: its writer is blocked for good, because it hasn't moved in many looks.
pub(crate) async fn wait_until_stalled(counter: &AtomicU64) -> u64 {
    let (last, looks) = (Cell::new(0), Cell::new(0));
    wait_until("the sender to be held up", async || {
        let now = counter.load(Ordering::Relaxed);
        looks.set(if now == last.replace(now) && now > 0 { looks.get() + 1 } else { 0 });
        looks.get() > 100
    })
    .await;
    last.get()
}

/// An origin that answers with a body without an end, and counts what it could send.
pub(crate) fn endless(framing: &'static str) -> (Origin, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let origin = Origin::script(move |mut connection| {
        let sent = counter.clone();
        async move {
            connection.read_request().await;
            connection.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")).await;
            let block = vec![b'x'; 65_536];
            let chunk = [b"10000\r\n", &block[..], b"\r\n"].concat();
            let part = if framing.contains("chunked") { &chunk } else { &block };
            while connection.try_write(part).await.is_ok() {
                sent.fetch_add(65_536, Ordering::Relaxed);
            }
        }
    });
    (origin, sent)
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_origin_and_costs_no_memory() {
    for framing in ["transfer-encoding: chunked", "content-length: 1000000000000", "x-until: close"] {
        let (origin, sent) = endless(framing);
        let gateway = forwarding_to(&origin).await;
        let before = gateway.memory("VmRSS");
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_head().await;
        let held = wait_until_stalled(&sent).await;
        assert!(held < IN_FLIGHT_MAX, "{framing}: {held} bytes are on the way");
        let grown = gateway.memory("VmRSS").saturating_sub(before);
        assert!(grown < MEMORY_MAX, "{framing}: {grown} bytes more memory");
        // It reads on, and the origin can send on.
        client.read_exact(8 << 20).await;
        wait_until("the origin to go on", async || sent.load(Ordering::Relaxed) > held).await;
        // It leaves, and the origin is told.
        drop(client);
        origin.wait_for_open(0).await;
    }
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_holds_up_the_origin_too() {
    let (origin, sent) = endless("transfer-encoding: chunked");
    let gateway = forwarding_to(&origin).await;
    let before = gateway.memory("VmRSS");
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::get("http://a/").body(()).unwrap();
    let (response, stream) = client.open(request, true).await.unwrap();
    let mut body = within("a response", response).await.unwrap().into_body();
    let held = wait_until_stalled(&sent).await;
    assert!(held < IN_FLIGHT_MAX, "{held} bytes are on the way");
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes more memory");
    let mut received = 0;
    while received < 8 << 20 {
        let data = within("data", body.data()).await.unwrap().unwrap();
        received += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(sent.load(Ordering::Relaxed) > held);
    drop((body, stream));
    origin.wait_for_open(0).await;
}

#[tokio::test]
async fn an_origin_that_does_not_read_holds_up_the_client_and_costs_no_memory() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            connection.read_head().await;
            gate.pass().await;
            connection.wait_closed().await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    for framing in ["Transfer-Encoding: chunked", "Content-Length: 1000000000000"] {
        let before = gateway.memory("VmRSS");
        let sent = Arc::new(AtomicU64::new(0));
        let mut client = gateway.client("web").await;
        client.send_raw(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
        let counter = sent.clone();
        let uploading = tokio::spawn(async move {
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65_536], b"\r\n"].concat();
            while client.try_send_raw(&chunk).await.is_ok() {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        let held = wait_until_stalled(&sent).await;
        assert!(held < IN_FLIGHT_MAX, "{framing}: {held} bytes are on the way");
        let grown = gateway.memory("VmRSS").saturating_sub(before);
        assert!(grown < MEMORY_MAX, "{framing}: {grown} bytes more memory");
        gate.release();
        wait_until("the client to go on", async || sent.load(Ordering::Relaxed) > held).await;
        uploading.abort();
        origin.wait_for_open(0).await;
    }
}

#[tokio::test]
async fn an_upload_continues_while_its_client_does_not_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // More than all the sockets between them hold.
    const SIZE: usize = 32 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It reads and writes at once, and ends when both are done.
    let origin = tokio::spawn(async move {
        let (mut reading, mut writing) = listener.accept().await.unwrap().0.into_split();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        let answer = tokio::spawn(async move {
            writing.write_all(head.as_bytes()).await.unwrap();
            writing.write_all(&vec![b'x'; SIZE]).await.unwrap();
            writing
        });
        let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
        while read < SIZE {
            read += reading.read(&mut buffer).await.unwrap();
        }
        answer.await.unwrap()
    });
    let config = format!(
        "{{ listeners: [{{ name: web, address: 127.0.0.1:0 }}], routes: [{{ upstream: {{ url: 'http://{address}' }} }}] }}"
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    let piece = vec![b'y'; 1 << 20];
    for _ in 0..SIZE >> 20 {
        client.send_raw(&piece).await;
    }
    let response = client.read_response().await;
    assert_eq!((response.status, response.body.len()), (200, SIZE));
    drop(origin.await.unwrap());
}
