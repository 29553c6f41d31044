//! Data and queues that plugins share: with themselves on other workers, and with others of the same `vm_id`.

use std::collections::HashSet;

use support::{Gateway, wait_until};

use crate::filtering::{configured, reported};
use crate::scripted::{scripted, scripted_with};

#[tokio::test]
async fn a_shared_value_is_set_if_its_version_is_current() {
    let answer = reported(
        "get_shared key -> bytes u32
        set_shared key first 0
        get_shared key -> bytes u32
        set_shared key second 1
        get_shared key -> bytes u32
        set_shared key third 1
        set_shared key fourth 99
        get_shared key -> bytes u32
        set_shared key unconditional 0
        get_shared key -> bytes u32
        set_shared new value 7
        set_shared new '' 0
        get_shared new -> bytes u32
        set_shared '' unnamed 0
        get_shared '' -> bytes u32",
    )
    .await;
    let expected = "1  0\n0\n0 first 1\n0\n0 second 2\n8\n8\n0 second 2\n0\n0 unconditional 3\n0\n0\n0  2\n0\n0 unnamed 1\n";
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn shared_data_has_a_limit() {
    let config = "
workers: 1
filters: { test: { wasm: test.wasm, limits: { shared_data: 1KiB } } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
    // 64 bytes of each entry are for the host.
    let script = "
        (drop (call $set_shared (i32.const 0x1000) (i32.const 3) (i32.const 0x10000) (i32.const 957) (i32.const 0)))
        (local.set 0 (call $set_shared (i32.const 0x1000) (i32.const 3) (i32.const 0x10000) (i32.const 957) (i32.const 0)))
        (local.set 1 (call $set_shared (i32.const 0x1000) (i32.const 3) (i32.const 0x10000) (i32.const 958) (i32.const 0)))
        text key
        number $0
        number $1
        set_shared other '' 0
        set_shared key small 0
        set_shared other '' 0
        register_queue queue -> u32
        (local.set 2 (i32.load (i32.const 0x8000)))
        enqueue $2 entry
        (local.set 1 (call $enqueue (local.get 2) (i32.const 0x10000) (i32.const 1000)))
        number $1
        answer";
    let gateway =
        configured(config, &[("test", &scripted(&[("proxy_on_request_headers", script)]))]).start().await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "key\n0\n10\n10\n0\n0\n0 1\n0\n10\n");
}

/// Adds one to a number in shared data, by as many tries as that takes; answers which worker did: each has an instance of its
/// own, and so a number of its own for how often it was called.
const COUNT: &str = "
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (block $done (loop $again
      (drop (call $get_shared (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 20) (i32.const 24)))
      (if (i32.load (i32.const 20))
        (then (i32.store (i32.const 32) (i32.load (i32.load (i32.const 16)))))
        (else (i32.store (i32.const 32) (i32.const 0))))
      (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))
      (br_if $again (i32.eq (i32.const 8)
        (call $set_shared (i32.const 0) (i32.const 5) (i32.const 32) (i32.const 4) (i32.load (i32.const 24)))))))
    (call $show_number (i64.load32_u (i32.const 32)))
    (call $line)
    (call $show_number (i64.extend_i32_u (global.get $calls)))
    answer";

const COUNT_DATA: &str = r#"(global $calls (mut i32) (i32.const 0)) (data (i32.const 0) "count")"#;

/// Returns the counts in the response of [`COUNT`]: the shared one, and that of the instance.
async fn count(gateway: &Gateway, path: &str) -> (u32, u32) {
    let text = gateway.client("web").await.get(path).await.text();
    let (shared, own) = text.split_once('\n').unwrap();
    (shared.parse().unwrap(), own.parse().unwrap())
}

#[tokio::test]
async fn workers_share_data_and_lose_no_change() {
    let config = "
workers: 2
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
    let module = scripted_with("", COUNT_DATA, &[("proxy_on_request_headers", COUNT)]);
    let gateway = configured(config, &[("test", &module)]).start().await;
    // Sockets are dealt out by the kernel: at some time both workers have had one.
    // The first count creates the value, which the ABI cannot do on condition.
    let mut counts = HashSet::from([count(&gateway, "/").await.0]);
    let mut both = false;
    while !both {
        let next = || count(&gateway, "/");
        let (a, b, c, d) = tokio::join!(next(), next(), next(), next());
        for (shared, own) in [a, b, c, d] {
            assert!(counts.insert(shared), "{shared} was counted twice");
            both |= own != shared;
        }
        assert!(counts.len() < 10_000, "one worker has all connections");
    }
    assert_eq!(counts.iter().max(), Some(&(counts.len() as u32)));
}

#[tokio::test]
async fn filters_of_one_vm_id_share_data_and_others_do_not() {
    let config = "
workers: 1
filters:
  one: { wasm: test.wasm, vm_id: common }
  two: { wasm: test.wasm, vm_id: common, config: other }
  alone: { wasm: test.wasm }
routes:
  - { name: a, match: { path: /one }, respond: { body: own }, filters: [one] }
  - { name: b, match: { path: /two }, respond: { body: own }, filters: [two] }
  - { name: c, match: { path: /alone }, respond: { body: own }, filters: [alone] }";
    let module = scripted_with("", COUNT_DATA, &[("proxy_on_request_headers", COUNT)]);
    let gateway = configured(config, &[("test", &module)]).start().await;
    for (path, expected) in
        [("/one", (1, 1)), ("/two", (2, 1)), ("/alone", (1, 1)), ("/one", (3, 2)), ("/alone", (2, 2))]
    {
        assert_eq!(count(&gateway, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn queues_are_found_by_name_and_give_back_what_was_put_in() {
    let answer = reported(
        "resolve_queue test jobs -> u32
        register_queue jobs -> u32
        register_queue jobs -> u32
        register_queue other -> u32
        resolve_queue test jobs -> u32
        resolve_queue '' other -> u32
        resolve_queue nobody jobs -> u32
        dequeue 1 -> bytes
        enqueue 1 first
        enqueue 1 ''
        enqueue 1 third
        enqueue 2 elsewhere
        dequeue 1 -> bytes
        dequeue 1 -> bytes
        dequeue 1 -> bytes
        dequeue 1 -> bytes
        dequeue 2 -> bytes
        enqueue 3 nowhere
        dequeue 3 -> bytes
        dequeue 0 -> bytes",
    )
    .await;
    let expected = "1 0\n0 1\n0 1\n0 2\n0 1\n0 2\n1 0\n7 \n0\n0\n0\n0\n0 first\n0 \n0 third\n7 \n0 elsewhere\n1\n1 \n1 \n";
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_worker_is_notified_of_each_entry_of_its_queue_from_any_worker() {
    let config = "
workers: 2
filters: { consumer: { wasm: consumer.wasm, vm_id: queues }, producer: { wasm: producer.wasm } }
routes:
  - { name: consumer, match: { path: /consumer }, respond: { body: own }, filters: [consumer] }
  - { name: producer, match: { path: /producer }, respond: { body: own }, filters: [producer] }";
    let consumer = scripted(&[
        ("proxy_on_vm_start", "register_queue jobs -> u32\nsay"),
        // One at a time, as examples of SDKs do.
        ("proxy_on_queue_ready", "number $0\ndequeue $1 -> bytes\nsay"),
    ]);
    let producer = scripted(&[(
        "proxy_on_request_headers",
        "resolve_queue queues jobs -> u32
        (local.set 0 (i32.load (i32.const 0x8000)))
        enqueue $0 one
        enqueue $0 two
        enqueue $0 three
        enqueue $0 four
        enqueue $0 five
        answer",
    )]);
    let gateway = configured(config, &[("consumer", &consumer), ("producer", &producer)]).start().await;
    assert_eq!(gateway.client("web").await.get("/producer").await.text(), "0 1\n0\n0\n0\n0\n0\n");
    for entry in ["one", "two", "three", "four", "five"] {
        gateway.wait_for_log(&format!("1|0 {entry}|")).await;
    }
    // Both workers have the queue; none of them leaves anything behind.
    gateway.client("web").await.get("/producer").await;
    let taken =
        |entry: &str| gateway.logs().iter().filter(|line| line.contains(&format!("1|0 {entry}|"))).count();
    wait_until("all entries once more", async || {
        ["one", "two", "three", "four", "five"].iter().all(|entry| taken(entry) == 2)
    })
    .await;
}
