//! Filters that hold nothing back: what they add is their callbacks, and neither delay nor memory.

use std::sync::atomic::Ordering;

use support::{Gate, Http2Client, Origin, http, wait_until};

use crate::backpressure::{IN_FLIGHT_MAX, MEMORY_MAX, endless, wait_until_stalled};
use crate::filter_script::{CONTINUE, notes, on, script};
use crate::filtering::filtered;
use crate::streaming::{duplex, echoes_while_it_is_sent};

/// Reads all bodies and lets them go.
fn reader() -> Vec<u8> {
    script(&[on("request_body", CONTINUE), on("response_body", CONTINUE)].concat())
}

#[tokio::test]
async fn each_part_of_a_response_arrives_before_the_next_is_sent() {
    for framing in ["transfer-encoding: chunked", "content-length: 15", "x-until: close"] {
        for kind in ["text/plain", "text/event-stream"] {
            let gate = Gate::new();
            let opened = gate.clone();
            let origin = Origin::script(move |mut connection| {
                let gate = opened.clone();
                async move {
                    connection.read_request().await;
                    connection
                        .write(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n"))
                        .await;
                    for part in ["part1", "part2", "part3"] {
                        gate.pass().await;
                        let part = if framing.contains("chunked") {
                            format!("5\r\n{part}\r\n")
                        } else {
                            part.to_owned()
                        };
                        connection.write(part).await;
                    }
                    gate.pass().await;
                    connection.write(if framing.contains("chunked") { "0\r\n\r\n" } else { "" }).await;
                    connection.close().await;
                }
            });
            let gateway = filtered(&origin, &reader(), "").await;
            let mut client = gateway.client("web").await;
            client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let head = client.read_head().await;
            assert!(head.headers.lists("transfer-encoding", "chunked"), "{framing} {kind}: {head:?}");
            for part in ["part1", "part2", "part3"] {
                gate.release();
                assert_eq!(
                    client.read_exact(10).await,
                    format!("5\r\n{part}\r\n").as_bytes(),
                    "{framing} {kind}"
                );
            }
            gate.release();
            assert_eq!(client.read_exact(5).await, b"0\r\n\r\n", "{framing} {kind}");
        }
    }
}

#[tokio::test]
async fn each_part_of_a_request_arrives_before_the_next_is_sent() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            let head = connection.read_head().await.unwrap();
            assert!(head.headers.lists("transfer-encoding", "chunked"));
            for part in ["part1", "part2"] {
                assert_eq!(connection.read_exact(10).await.unwrap(), format!("5\r\n{part}\r\n").as_bytes());
                gate.pass().await;
            }
            assert_eq!(connection.read_exact(5).await.unwrap(), b"0\r\n\r\n");
            connection.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let gateway = filtered(&origin, &reader(), "").await;
    gate.release_all();
    for framing in ["transfer-encoding: chunked", "content-length: 10"] {
        let (before, chunked) = (origin.accepted(), framing.contains("chunked"));
        let mut client = gateway.client("web").await;
        client.send_raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n")).await;
        for (index, part) in ["part1", "part2"].into_iter().enumerate() {
            client.send_raw(if chunked { format!("5\r\n{part}\r\n") } else { part.to_owned() }).await;
            gate.arrivals(2 * before + index + 1).await;
        }
        client.send_raw(if chunked { "0\r\n\r\n" } else { "" }).await;
        assert_eq!(client.read_response().await.status, 204, "{framing}");
    }
    assert_eq!(origin.errors(), [] as [String; 0]);
}

#[tokio::test]
async fn large_bodies_go_both_ways_at_once() {
    let origin = duplex();
    echoes_while_it_is_sent(&filtered(&origin, &reader(), "").await).await;
}

#[tokio::test]
async fn a_large_response_passes_in_pieces_that_are_counted_once() {
    const SIZE: u32 = 50_000_000;
    let origin = Origin::answer(
        [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes(),
            vec![b'x'; SIZE as usize],
        ]
        .concat(),
    );
    let module = script(&format!(
        "(global $bytes (mut i32) (i32.const 0)) {}",
        on(
            "response_body",
            &format!(
                "(global.set $bytes (i32.add (global.get $bytes) (local.get $size)))
             (if (local.get $end) (then (call $note 'all' (global.get $bytes) (i32.const 0)))) {CONTINUE}"
            )
        )
    ));
    let gateway = filtered(&origin, &module, "").await;
    // The first one sizes the kernel's and the allocator's buffers.
    gateway.client("web").await.get("/").await;
    let before = gateway.memory("VmRSS");
    let response = gateway.client("web").await.get("/").await;
    assert_eq!((response.status, response.body.len()), (200, SIZE as usize));
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes more memory");
    assert_eq!(notes(&gateway, 2).await[0], format!("all {SIZE} 0"));
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_the_origin_and_costs_no_memory() {
    let (origin, sent) = endless("transfer-encoding: chunked");
    let gateway = filtered(&origin, &reader(), "").await;
    let before = gateway.memory("VmRSS");
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_head().await;
    let held = wait_until_stalled(&sent).await;
    assert!(held < IN_FLIGHT_MAX, "{held} bytes are on the way");
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes more memory");
    client.read_exact(8 << 20).await;
    wait_until("the origin to go on", async || sent.load(Ordering::Relaxed) > held).await;
    drop(client);
    origin.wait_for_open(0).await;
}

#[tokio::test]
async fn an_http2_response_streams_through_a_filter() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
            for event in ["data: 1\n\n", "data: 2\n\n"] {
                gate.pass().await;
                connection.write(event).await;
            }
            gate.pass().await;
            connection.close().await;
        }
    });
    let gateway = filtered(&origin, &reader(), "").await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let head = http::Request::get("http://gateway.test/").body(()).unwrap();
    let (response, _) = client.open(head, true).await.unwrap();
    let mut body = support::within("the head", response).await.unwrap().into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        gate.release();
        assert_eq!(support::within("an event", body.data()).await.unwrap().unwrap(), event);
    }
    gate.release();
    // The end may be a frame of its own.
    assert!(support::within("the end", body.data()).await.is_none_or(|data| data.unwrap().is_empty()));
    assert!(body.is_end_stream());
}
