//! Host functions besides those of messages: the log, time, ticks, foreign functions, and the choice of a context.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{Gateway, Origin, wait_until};

use crate::filtering::{builder, configured, filtered, reported};
use crate::pooled::OK;
use crate::scripted::{scripted, scripted_with};

#[tokio::test]
async fn plugin_log_lines_have_their_level_and_the_name_of_the_filter() {
    let script = "
        log 0 'at trace'
        log 1 'at debug'
        log 2 'at info'
        log 3 'at warn'
        log 4 'at error'
        log 5 'at critical'
        log 6 'at none'
        get_log_level -> u32
        answer";
    for (level, number, first) in
        [("trace", 0, 0), ("debug", 1, 1), ("info", 2, 2), ("warn", 3, 3), ("error", 4, 4)]
    {
        let origin = Origin::answer(OK);
        let module = scripted(&[("proxy_on_request_headers", script)]);
        let gateway = builder(&origin, &module, "").arg("--log").arg(level).start().await;
        let answer = gateway.client("web").await.get("/").await.text();
        assert_eq!(answer, format!("0\n0\n0\n0\n0\n0\n2\n0 {number}\n"), "{level}");
        gateway.wait_for_log("at critical").await;
        let logs = gateway.logs();
        let lines =
            [("TRACE", "trace"), ("DEBUG", "debug"), ("INFO", "info"), ("WARN", "warn"), ("ERROR", "error")];
        for (index, (name, text)) in lines.iter().enumerate() {
            let line = logs.iter().find(|line| line.contains(&format!("at {text}")));
            assert_eq!(line.is_some(), index >= first, "{text} at {level}: {logs:?}");
            assert!(
                line.is_none_or(|line| line.contains(name) && line.contains("filter=\"test\"")),
                "{line:?}"
            );
        }
        assert!(!logs.iter().any(|line| line.contains("at none")));
    }
}

#[tokio::test]
async fn no_log_line_of_a_plugin_can_pretend_to_be_another_one() {
    let module = scripted(&[(
        "proxy_on_request_headers",
        "log 2 'first\\nERROR forged=1\\r\\n\u{1b}[2Jlast\\0\\r\\n\\n'",
    )]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    gateway.client("web").await.get("/").await;
    let line = gateway.wait_for_log("first").await;
    assert!(line.contains(r"first\nERROR forged=1\r\n\u{1b}[2Jlast\u{0}\r\n\n"), "{line}");
    assert!(!gateway.logs().iter().any(|line| line.starts_with("ERROR")));
}

#[tokio::test]
async fn plugin_log_lines_are_bounded_for_each_exchange() {
    // Of what is not written nothing counts.
    let script = "
        (block $done (loop $next
          (drop (call $log (i32.const 1) (i32.const 0x1000) (i32.const 8)))
          (local.set 1 (call $log (i32.const 2) (i32.const 0x1000) (i32.const LENGTH)))
          (global.set $written (i32.add (global.get $written) (i32.const 1)))
          (br_if $next (i32.lt_u (global.get $written) (i32.const 5000)))))
        (global.set $written (i32.const 0))
        text 'log line'
        number $1
        answer";
    for (length, lines) in [(8, 850..1000), (1, 900..1100), (0, 900..1100), (60_000, 3..4)] {
        let module = scripted_with(
            "",
            "(global $written (mut i32) (i32.const 0))",
            &[("proxy_on_request_headers", &script.replace("LENGTH", &length.to_string()))],
        );
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, ", limits: { time: 10s }").await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.text(), "log line\n0\n", "what is left out is no error");
        gateway.wait_for_log("further lines are dropped").await;
        let written = |gateway: &Gateway| {
            let logs = gateway.logs();
            assert!(logs.iter().all(|line| line.len() < 9000));
            logs.iter().filter(|line| line.contains("filter=\"test\"")).count()
        };
        let first = written(&gateway);
        assert!(lines.contains(&first), "{first} lines of {length} bytes");
        client.get("/").await;
        wait_until("as much of the next one", async || written(&gateway) == 2 * first).await;
    }
}

#[tokio::test]
async fn the_time_is_that_of_the_system_and_advances() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let times = reported("get_time -> u64\nget_time -> u64").await;
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let times: Vec<u128> =
        times.lines().map(|line| line.strip_prefix("0 ").unwrap().parse().unwrap()).collect();
    assert!(before <= times[0] && times[0] <= times[1] && times[1] <= after, "{before} {times:?} {after}");
}

/// Returns the number in the `x-ticks` of a response: the ticks of the root context so far.
async fn ticks(gateway: &Gateway, path: &str) -> u32 {
    let response = gateway.client("web").await.get(path).await;
    response.header("x-ticks").unwrap().trim_end_matches('|').parse().unwrap()
}

#[tokio::test]
async fn ticks_begin_change_and_end_at_the_plugins_word() {
    let module = scripted_with(
        "",
        "(global $ticks (mut i32) (i32.const 0))",
        &[
            ("proxy_on_configure", "set_tick 10\n(global.set $end (i32.const 0x10000))"),
            ("proxy_on_tick", "(global.set $ticks (i32.add (global.get $ticks) (local.get 0)))"),
            (
                "proxy_on_request_headers",
                // A path of one byte leaves it as it is, one of two ends it, a longer one lets it begin again.
                "get_field 0 :path -> bytes
                (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const 2)) (then (drop (call $set_tick (i32.const 0)))))
                (if (i32.gt_u (i32.load (i32.const 0x8008)) (i32.const 2)) (then (drop (call $set_tick (i32.const 20)))))
                (global.set $end (i32.const 0x10000))",
            ),
            (
                "proxy_on_response_headers",
                "(call $show_number (i64.extend_i32_u (global.get $ticks)))
                field x-ticks",
            ),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    wait_until("ticks", async || ticks(&gateway, "/").await > 2).await;
    let ended = ticks(&gateway, "/2").await;
    // Other things happen meanwhile that take longer than a tick would.
    let calls = gateway.metric("gateway_filter_calls_total").await;
    for _ in 0..20 {
        assert_eq!(ticks(&gateway, "/").await, ended);
    }
    assert!(gateway.metric("gateway_filter_calls_total").await > calls);
    ticks(&gateway, "/begin").await;
    wait_until("ticks again", async || ticks(&gateway, "/").await > ended).await;
}

#[tokio::test]
async fn a_period_is_not_shorter_than_a_worker_can_bear() {
    let module = scripted_with(
        "",
        "(global $ticks (mut i32) (i32.const 0))",
        &[
            ("proxy_on_configure", "set_tick 1\n(global.set $end (i32.const 0x10000))"),
            ("proxy_on_tick", "(global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))"),
            (
                "proxy_on_request_headers",
                "(call $show_number (i64.extend_i32_u (global.get $ticks)))\nanswer",
            ),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    let ticks = async || gateway.client("web").await.get("/").await.text().parse::<u32>().unwrap();
    let (began, first) = (Instant::now(), ticks().await);
    wait_until("some ticks", async || ticks().await > first + 20).await;
    let more = ticks().await - first;
    // The first may have been about to come.
    assert!(
        began.elapsed() >= Duration::from_millis(10) * (more - 1),
        "{more} ticks in {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_unknown_foreign_function_is_not_found() {
    let answer = reported(
        "foreign verify_signature data -> bytes
        foreign '' '' -> bytes
        foreign clear_route_cache '' -> bytes
        foreign clear_route_cache '' 0 0
        get_buffer 8 0 100 -> bytes",
    )
    .await;
    assert_eq!(answer, "1 \n1 \n0 \n0\n0 \n");
}

#[tokio::test]
async fn a_cleared_route_is_found_again_by_what_the_filter_has_made_of_the_request() {
    let (first, second) = (Origin::answer(OK), Origin::answer(OK));
    let config = "
workers: 1
filters: { clears: { wasm: clears.wasm }, keeps: { wasm: keeps.wasm } }
routes:
  - { name: clears-beta, match: { prefix: /clears, headers: { x-group: beta } }, upstream: { url: '{second}' } }
  - { name: keeps-beta, match: { prefix: /keeps, headers: { x-group: beta } }, upstream: { url: '{second}' } }
  - { name: clears, match: { prefix: /clears }, upstream: { url: '{first}' }, filters: [clears] }
  - { name: keeps, match: { prefix: /keeps }, upstream: { url: '{first}' }, filters: [keeps] }";
    let change = "set_field 0 x-group beta";
    let clears =
        scripted(&[("proxy_on_request_headers", &format!("{change}\nforeign clear_route_cache '' 0 0"))]);
    let keeps = scripted(&[("proxy_on_request_headers", change)]);
    let gateway = configured(config, &[("clears", &clears), ("keeps", &keeps)])
        .set("first", first.url())
        .set("second", second.url())
        .start()
        .await;
    let mut client = gateway.client("web").await;
    client.get("/keeps").await;
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
    client.get("/clears").await;
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_cleared_route_leads_past_no_filters() {
    let config = "
workers: 1
filters: { moves: { wasm: moves.wasm }, guards: { wasm: guards.wasm } }
routes:
  - { name: guarded, match: { path: /guarded }, respond: { body: secret }, filters: [guards] }
  - { name: own, match: { path: /own }, respond: { body: fine }, headers: { response: { set: { x-own: '1' } } }, filters: [moves] }
  - { name: open, match: { prefix: / }, respond: { body: open }, filters: [moves] }";
    let to = |path: &str| {
        let script = format!("set_field 0 :path {path}\nforeign clear_route_cache '' 0 0");
        scripted(&[("proxy_on_request_headers", &script)])
    };
    let guards = scripted(&[("proxy_on_request_headers", "text stop\nanswer")]);
    for (path, status, reason, own) in
        [("/guarded", 500, Some("route.filters"), None), ("/own", 200, None, Some("1"))]
    {
        let gateway = configured(config, &[("moves", &to(path)), ("guards", &guards)]).start().await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!((response.status, response.header("x-gateway-error")), (status, reason), "{path}");
        assert!(!response.text().contains("secret"));
        assert_eq!(response.header("x-own"), own, "the edits of the route that serves");
    }
}

#[tokio::test]
async fn cleared_route_leads_past_no_policies() {
    let config = "
workers: 1
auth: { partners: { api_key: { header: x-key, keys: keys.yaml } } }
filters: { moves: { wasm: moves.wasm } }
routes:
  - { match: { path: /auth }, respond: { body: secret }, auth: [partners], filters: [moves] }
  - { match: { path: /allow }, respond: { body: secret }, allow: [192.0.2.0/24], filters: [moves] }
  - { match: { path: /limit }, respond: { body: secret }, rate_limit: { rate: 1/h }, filters: [moves] }
  - { match: { path: /other-limit }, respond: { body: secret }, rate_limit: { rate: 2/h, burst: 9 }, filters: [moves] }
  - { match: { path: /same }, respond: { body: fine }, deny: [192.0.2.0/24], rate_limit: { rate: 1/h, burst: 9 }, filters: [moves] }
  - { match: { path: /free }, respond: { body: fine }, filters: [moves] }
  - { match: { prefix: / }, respond: { body: open }, deny: [192.0.2.0/24], rate_limit: { rate: 1/h, burst: 9 }, filters: [moves] }";
    for (path, status) in [
        ("/auth", 500),
        ("/allow", 500),
        ("/limit", 500),
        ("/other-limit", 500),
        ("/same", 200),
        ("/free", 200),
    ] {
        let script = format!("set_field 0 :path {path}\nforeign clear_route_cache '' 0 0");
        let moves = scripted(&[("proxy_on_request_headers", &script)]);
        let gateway = configured(config, &[("moves", &moves)]).file("keys.yaml", "[]").start().await;
        let response = gateway.client("web").await.get("/").await;
        let reason = (status == 500).then_some("route.policies");
        assert_eq!((response.status, response.header("x-gateway-error")), (status, reason), "{path}");
        assert!(!response.text().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_request_whose_cleared_route_is_gone_is_not_found() {
    let config = "
workers: 1
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, match: { path: /here }, respond: { body: here }, filters: [test] }]";
    let script = "set_field 0 :path /nowhere\nforeign clear_route_cache '' 0 0";
    let module = scripted(&[("proxy_on_request_headers", script)]);
    let gateway = configured(config, &[("test", &module)]).start().await;
    let response = gateway.client("web").await.get("/here").await;
    assert_eq!((response.status, response.header("x-gateway-error")), (404, Some("route.none")));
}

#[tokio::test]
async fn vendor_functions_of_abi_0_2_100_are_unimplemented() {
    let imports = r#"
(import "env" "proxy_redis_init" (func $redis_init (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_redis_call" (func $redis_call (param i32 i32 i32 i32 i32) (result i32)))
(import "env" "proxy_get_upstream_hosts" (func $get_hosts (param i32 i32) (result i32)))
(import "env" "proxy_set_upstream_override_host" (func $override_host (param i32 i32) (result i32)))
(import "env" "proxy_inject_encoded_data_to_filter_chain" (func $inject (param i32 i32 i32) (result i32)))"#;
    let script = "
        redis_init redis '' '' 1000
        redis_call redis PING -> u32
        get_hosts -> bytes
        override_host '127.0.0.1'
        inject data 1
        answer";
    let version = r#"(func (export "proxy_abi_version_0_2_100"))"#;
    let module = scripted_with(imports, version, &[("proxy_on_request_headers", script)]);
    let gateway = filtered(&Origin::answer(OK), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "12\n12 0\n12 \n12\n12\n");
}

#[tokio::test]
async fn foreign_function_get_log_level_writes_the_level_as_a_number() {
    let script = "foreign get_log_level '' -> u32 u32
        (call $show_number (i64.load32_u (i32.load (i32.const 0x8000))))
        foreign get_log_level '' 0 0
        answer";
    let module = scripted(&[("proxy_on_request_headers", script)]);
    for (level, number) in [("trace", 0), ("debug", 1), ("info", 2), ("warn", 3), ("error", 4)] {
        let gateway = builder(&Origin::answer(OK), &module, "").arg("--log").arg(level).start().await;
        let text = gateway.client("web").await.get("/").await.text();
        let (written, rest) = text.split_once('\n').unwrap();
        assert!(written.starts_with("0 ") && written.ends_with(" 4"), "{level}: {text}");
        assert_eq!(rest, format!("{number}0\n"), "{level}");
    }
}

#[tokio::test]
async fn a_context_is_called_until_it_says_that_it_is_done() {
    // It answers "not yet", and is done at the next tick.
    let module = scripted_with(
        "",
        "(global $waits (mut i32) (i32.const 0))",
        &[
            ("proxy_on_configure", "set_tick 10\n(global.set $end (i32.const 0x10000))"),
            (
                "proxy_on_done",
                "done
                text not-yet
                say
                (global.set $waits (local.get 0))
                return 0",
            ),
            (
                "proxy_on_tick",
                "(if (global.get $waits) (then
                set_context 999
                done
                (drop (call $set_context (global.get $waits)))
                get_field 0 :path -> bytes
                done
                done
                text from-tick
                say
                (global.set $waits (i32.const 0))))",
            ),
            ("proxy_on_log", "get_field 0 :path -> bytes\nget_field 2 :status -> bytes\ntext logged\nsay"),
            ("proxy_on_delete", "get_field 0 :path -> bytes\ntext deleted\nsay"),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    gateway.client("web").await.get("/slow").await;
    gateway.wait_for_log("deleted").await;
    let lines = gateway.logs();
    let order = ["1|not-yet|", "2|1|0 /slow|0|1|from-tick|", "0 /slow|0 200|logged|", "0 /slow|deleted|"];
    let mut next = 0;
    for text in order {
        let found = lines.iter().skip(next).position(|line| line.contains(text));
        next += found.unwrap_or_else(|| panic!("`{text}` not in its place in {lines:#?}")) + 1;
    }
}

#[tokio::test]
async fn a_context_that_never_says_that_it_is_done_is_ended_all_the_same() {
    let module = scripted(&[("proxy_on_done", "return 0"), ("proxy_on_delete", "text deleted\nsay")]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, ", limits: { pause: 50ms }").await;
    gateway.client("web").await.get("/").await;
    gateway.wait_for_log("deleted|").await;
}
