//! Plugins that change while the gateway serves: the next request has the new one, those under way keep theirs, and nothing
//! is left of what is gone.

use support::{Gate, Gateway, Origin, wait_until};

use crate::PROGRAM;
use crate::filter_script::{CONTINUE, call, on, script, set};
use crate::load::{Connection, Load, post_reload};
use crate::reload_many::heap;
use crate::reloading::{refused_times, replace};

/// Sets `x-version` on responses, and `x-count` to how many this instance has seen.
fn version(version: &str) -> Vec<u8> {
    script(&format!(
        "(global $seen (mut i32) (i32.const 0)) {}",
        on(
            "response_headers",
            &format!(
                "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (call $show_status (global.get $seen)) (call $field 'x-count')
             {} {CONTINUE}",
                set("(i32.const 2)", "x-version", version)
            )
        ) + &on("request_headers", CONTINUE)
    ))
}

fn config(origin: &Origin, workers: usize, filters: &str, routes: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: off }}
workers: {workers}
wasm: {{ cache: off }}
upstreams: {{ origin: {{ url: '{}' }} }}
filters: {filters}
routes: {routes}",
        origin.url()
    )
}

const ONE: &str = "{ one: { wasm: one.wasm } }";
const ALL: &str = "[{ name: all, upstream: origin, filters: [one] }]";

/// The instances and the memory of a filter.
async fn gauges(gateway: &Gateway, filter: &str) -> (Option<f64>, Option<f64>) {
    let instances = gateway.metric(&format!("gateway_filter_instances{{filter=\"{filter}\"}}")).await;
    (instances, gateway.metric(&format!("gateway_filter_memory_bytes{{filter=\"{filter}\"}}")).await)
}

/// Version and count, as `path` is answered.
async fn seen(gateway: &Gateway, path: &str) -> (String, String) {
    let response = gateway.client("web").await.get(path).await;
    let field = |name: &str| response.header(name).unwrap_or_else(|| panic!("{response:?}")).to_owned();
    (field("x-version"), field("x-count"))
}

fn is(version: &str, count: u32) -> (String, String) {
    (version.to_owned(), count.to_string())
}

#[tokio::test]
async fn a_module_that_changes_is_swapped_while_requests_under_way_keep_theirs() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if request.target == "/slow" {
                    gate.pass().await;
                }
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    });
    let gateway = Gateway::builder(PROGRAM, config(&origin, 1, ONE, ALL))
        .file("one.wasm", version("old"))
        .start()
        .await;
    assert_eq!(seen(&gateway, "/").await, is("old", 1));
    let before = gauges(&gateway, "one").await;
    assert_eq!(before.0, Some(1.0));
    let mut slow = gateway.client("web").await;
    slow.send_raw("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;

    // It happens by itself, without a request for a reload.
    replace(&gateway.folder().join("one.wasm"), version("new"));
    gateway.wait_for_log("configuration reloaded").await;
    wait_until("the new version", async || seen(&gateway, "/").await.0 == "new").await;
    assert_eq!(gauges(&gateway, "one").await.0, Some(2.0), "the old one has a request yet");
    gate.release();
    let response = slow.read_response().await;
    assert_eq!(
        (response.status, response.header("x-version"), response.header("x-count")),
        (200, Some("old"), Some("2"))
    );
    wait_until("the old instance to be gone", async || gauges(&gateway, "one").await == before).await;
    assert_eq!(slow.get("/").await.header("x-version"), Some("new"), "the connection is as good as before");
}

#[tokio::test]
async fn a_filter_that_a_reload_brings_can_call_a_new_upstream_as_it_starts() {
    let (origin, side) = (Origin::echo(), Origin::echo());
    let gateway = Gateway::builder(PROGRAM, config(&origin, 1, "{}", "[{ name: all, upstream: origin }]"))
        .start()
        .await;
    let configure = format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {} (i32.const 1))"#,
        call("/keys", 60000)
    );
    replace(&gateway.folder().join("one.wasm"), script(&(configure + &on("request_headers", CONTINUE))));
    let next = config(&origin, 1, ONE, ALL);
    let next = next.replace("upstreams: {", &format!("upstreams: {{ side: {{ url: '{}' }},", side.url()));
    replace(&gateway.folder().join("gateway.yaml"), next);
    post_reload(&gateway).await;
    // Without a request: the workers start the filter before it serves.
    wait_until("the call", async || side.requests().iter().any(|request| request.target == "/keys")).await;
}

#[tokio::test]
async fn a_bad_module_is_refused_with_the_reason_and_the_old_one_keeps_serving() {
    let origin = Origin::echo();
    let gateway = Gateway::builder(PROGRAM, config(&origin, 1, ONE, ALL))
        .file("one.wasm", version("old"))
        .start()
        .await;
    assert_eq!(seen(&gateway, "/").await, is("old", 1));
    let refuses = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#;
    let imports_unknown = wat::parse_str(
        r#"(module (import "env" "proxy_unheard_of" (func)) (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1")) (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#,
    );
    let traps = "(func (export \"_initialize\") (unreachable))";
    let bad = [
        (b"no module at all".to_vec(), "it begins with other bytes"),
        (version("cut")[..100].to_vec(), "the module cannot be used"),
        (imports_unknown.unwrap(), "`env.proxy_unheard_of`"),
        (script(refuses), "proxy_on_configure"),
        (script(traps), "the plugin does not start"),
    ];
    for (index, (module, reason)) in bad.into_iter().enumerate() {
        replace(&gateway.folder().join("one.wasm"), module);
        refused_times(&gateway, index as u64 + 1).await;
        wait_until(reason, async || gateway.logs().iter().filter(|line| line.contains(reason)).count() > 0)
            .await;
        assert_eq!(seen(&gateway, "/").await, is("old", index as u32 + 2), "{reason}");
        assert_eq!(gauges(&gateway, "one").await.0, Some(1.0), "{reason}");
    }
    assert_eq!(gateway.generation().await, 1);
    replace(&gateway.folder().join("one.wasm"), version("new"));
    wait_until("the new version", async || seen(&gateway, "/").await.0 == "new").await;
}

#[tokio::test]
async fn only_changed_filters_are_restarted_and_removed_ones_are_gone() {
    let origin = Origin::echo();
    let routes = "[{ name: one, match: { prefix: /one }, upstream: origin, filters: [one] }, { name: two, match: { prefix: /two }, upstream: origin, filters: [two] }]";
    let both = |first: &str, second: &str| {
        format!("{{ one: {{ wasm: one.wasm{first} }}, two: {{ wasm: two.wasm{second} }} }}")
    };
    let start = config(&origin, 1, &both("", ""), routes);
    let gateway = Gateway::builder(PROGRAM, start)
        .file("one.wasm", version("1"))
        .file("two.wasm", version("2"))
        .start()
        .await;
    assert_eq!((seen(&gateway, "/one").await, seen(&gateway, "/two").await), (is("1", 1), is("2", 1)));

    gateway.reload(&config(&origin, 1, &both(", config: { a: 1 }", ""), routes)).await;
    assert_eq!((seen(&gateway, "/one").await, seen(&gateway, "/two").await), (is("1", 1), is("2", 2)));

    // Something else.
    let more = routes
        .replace(']', "")
        .replace("filters: [one", "filters: [one]")
        .replace("filters: [two", "filters: [two]")
        + ", { name: three, respond: { status: 204 } }]";
    gateway.reload(&config(&origin, 1, &both(", config: { a: 1 }", ""), &more)).await;
    assert_eq!((seen(&gateway, "/one").await, seen(&gateway, "/two").await), (is("1", 2), is("2", 3)));

    // Its file, with another filter's being replaced by what it is.
    replace(&gateway.folder().join("two.wasm"), version("2"));
    replace(&gateway.folder().join("one.wasm"), version("1b"));
    wait_until("the new version", async || seen(&gateway, "/one").await.0 == "1b").await;
    assert_eq!(seen(&gateway, "/two").await, is("2", 4));

    for (keys, starts_anew) in [
        (", limits: { time: 60ms }", true),
        (", on_error: open, limits: { time: 60ms }", true),
        (", on_error: open, limits: { time: 60ms }", false),
    ] {
        let before: u32 = seen(&gateway, "/two").await.1.parse().unwrap();
        gateway
            .reload(&config(
                &origin,
                1,
                &both(", config: { a: 2 }", keys),
                &more.replace("204", if starts_anew { "205" } else { "206" }),
            ))
            .await;
        assert_eq!(
            seen(&gateway, "/two").await.1,
            if starts_anew { 1 } else { before + 1 }.to_string(),
            "{keys}"
        );
    }

    let without = "[{ name: one, match: { prefix: /one }, upstream: origin, filters: [one] }, { name: rest, upstream: origin }]";
    gateway.reload(&config(&origin, 1, &both("", ""), without)).await;
    let is_gone = async || !matches!(gauges(&gateway, "two").await, (Some(instances), _) if instances > 0.0);
    wait_until("the removed filter's instance to be gone", is_gone).await;
    assert_eq!(gauges(&gateway, "one").await.0, Some(1.0));
}

/// Mappings of memory that a process has.
fn mappings(gateway: &Gateway) -> usize {
    std::fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).unwrap().lines().count()
}

#[tokio::test]
async fn a_hundred_swaps_under_load_fail_no_request_and_leave_nothing_behind() {
    const SWAPS: u64 = 50;
    const WORKERS: usize = 2;
    let origin = Origin::echo();
    let gateway =
        heap::gateway(config(&origin, WORKERS, ONE, ALL)).file("one.wasm", version("v0")).start().await;
    let clients = [
        ("first", Connection::http1(gateway.addr("web")).await),
        ("second", Connection::http1(gateway.addr("web")).await),
        ("h2", Connection::http2(gateway.addr("web")).await),
    ];
    let mut load = Load::start(&["/"], clients);
    load.settle().await;
    let before = gauges(&gateway, "one").await;
    assert_eq!(before.0, Some(WORKERS as f64));
    let (mut heap, mut maps) = (Vec::new(), Vec::new());
    for half in 0..2 {
        for swap in 1..=SWAPS {
            replace(&gateway.folder().join("one.wasm"), version(&format!("v{}", half * SWAPS + swap)));
            let report = post_reload(&gateway).await;
            assert!(report["generation"].as_u64() > Some(half * SWAPS + swap - 1), "{report}");
        }
        // Every client got 200 all the time, and now what the last swap has brought.
        for mut answers in load.settle().await {
            assert!(answers.iter().all(|answer| answer.starts_with("200 ")), "{answers:?}");
            let last = answers.pop().unwrap();
            assert!(last.contains(&format!("x-version: v{}", (half + 1) * SWAPS)), "{last}");
        }
        wait_until("the old instances to be gone", async || gauges(&gateway, "one").await == before).await;
        let is_gone = async || gateway.metric("gateway_config_older_kept").await == Some(0.0);
        wait_until("the old configurations to be gone", is_gone).await;
        let (mut least, mut fewest) = (usize::MAX, usize::MAX);
        for _ in 0..10 {
            least = least.min(heap::in_use(&gateway).await);
            fewest = fewest.min(mappings(&gateway));
            load.settle().await;
        }
        heap.push(least);
        maps.push(fewest);
    }
    assert!(heap[1] * 100 <= heap[0] * 105, "{heap:?} bytes of heap after {SWAPS} swaps, and twice as many");
    assert!(maps[1] <= maps[0] + 5, "{maps:?} mappings after {SWAPS} swaps, and twice as many");
}
