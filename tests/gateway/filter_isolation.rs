//! Which requests share an instance, and so its memory.

use support::{Gate, Gateway, Origin, wait_until};
use tokio::task::JoinSet;

use crate::filter_script::{CONTINUE, on, script};
use crate::filtering::filtered;

/// Tells by a field how many exchanges it has seen.
fn counter(more: &str) -> Vec<u8> {
    script(&format!(
        "(global $seen (mut i32) (i32.const 0)) {more} {}",
        on(
            "response_headers",
            &format!(
                "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (call $show_status (global.get $seen)) (call $field 'x-count')
             {CONTINUE}"
            )
        )
    ))
}

async fn instances(gateway: &Gateway) -> Option<f64> {
    gateway.metric(r#"gateway_filter_instances{filter="test"}"#).await
}

async fn memory(gateway: &Gateway) -> Option<f64> {
    gateway.metric(r#"gateway_filter_memory_bytes{filter="test"}"#).await
}

#[tokio::test]
async fn an_instance_of_a_worker_serves_one_request_after_the_other() {
    let origin = Origin::echo();
    let gateway = filtered(&origin, &counter(""), "").await;
    let (mut first, mut second) = (gateway.client("web").await, gateway.client("web").await);
    for count in ["1", "3", "5"] {
        assert_eq!(first.get("/").await.header("x-count"), Some(count));
        assert_eq!(
            second.get("/").await.header("x-count"),
            Some(&*(count.parse::<u32>().unwrap() + 1).to_string())
        );
    }
    assert_eq!((instances(&gateway).await, memory(&gateway).await), (Some(1.0), Some(16.0 * 65_536.0)));
}

#[tokio::test]
async fn a_request_with_an_instance_of_its_own_sees_nothing_of_others() {
    let origin = Origin::echo();
    // What is left in memory would be seen as well.
    let more = r#"(func (export "proxy_on_context_create") (param i32 i32)
        (if (i32.load (i32.const 500000)) (then (unreachable)))
        (i32.store (i32.const 500000) (i32.add (i32.load (i32.const 500000)) (i32.eq (local.get 1) (i32.const 1)))))"#;
    let gateway = filtered(&origin, &counter(more), ", isolation: request").await;
    let mut client = gateway.client("web").await;
    for _ in 0..20 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.header("x-count")), (200, Some("1")));
    }
    wait_until("no instance to be left", async || instances(&gateway).await == Some(0.0)).await;
    assert_eq!(memory(&gateway).await, Some(0.0));
}

#[tokio::test]
async fn two_hundred_requests_at_once_have_an_instance_each() {
    const REQUESTS: usize = 200;
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    });
    let module = counter(&on("request_headers", CONTINUE));
    let gateway = filtered(&origin, &module, ", isolation: request").await;
    for _ in 0..2 {
        let mut asking = JoinSet::new();
        for _ in 0..REQUESTS {
            let mut client = gateway.client("web").await;
            asking.spawn(async move {
                client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                let response = client.read_response().await;
                (response.status, response.header("x-count").map(str::to_owned))
            });
        }
        wait_until("an instance each", async || instances(&gateway).await == Some(REQUESTS as f64)).await;
        for _ in 0..REQUESTS {
            gate.release();
        }
        for answer in asking.join_all().await {
            assert_eq!(answer, (200, Some("1".to_owned())));
        }
        wait_until("no instance to be left", async || instances(&gateway).await == Some(0.0)).await;
        assert_eq!(memory(&gateway).await, Some(0.0));
    }
}

#[tokio::test]
async fn limits_hold_for_instances_of_one_request_too() {
    let grow = on(
        "request_headers",
        &format!(
            "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable))) {CONTINUE}"
        ),
    );
    let spin = on("request_headers", "(loop $spin (br $spin)) (unreachable)");
    let deep = format!(
        "(func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1))) {}",
        on("request_headers", "(call $deep (i32.const 0))")
    );
    for (code, keys, reason) in [
        (grow, ", limits: { memory: 2MiB }", "filter.test.memory"),
        (spin, ", limits: { time: 20ms }", "filter.test.time"),
        (deep, "", "filter.test.stack"),
    ] {
        let origin = Origin::echo();
        let gateway = filtered(&origin, &script(&code), &format!(", isolation: request{keys}")).await;
        let mut client = gateway.client("web").await;
        for _ in 0..3 {
            let response = client.get("/").await;
            assert_eq!((response.status, response.header("x-gateway-error")), (500, Some(reason)));
        }
        assert_eq!(origin.accepted(), 0);
        wait_until("no instance to be left", async || instances(&gateway).await == Some(0.0)).await;
    }
}
