//! WASI for plugins: clocks, random numbers, the environment of the configuration, output as log lines. There
//! are no files, and no sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use support::{Gateway, Origin};

use crate::filtering::filtered;
use crate::pooled::OK;
use crate::scripted::scripted_with;

/// The functions that SDKs use.
const FUNCTIONS: [(&str, &str); 20] = [
    ("args_get", "i32 i32"),
    ("args_sizes_get", "i32 i32"),
    ("clock_res_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("environ_get", "i32 i32"),
    ("environ_sizes_get", "i32 i32"),
    ("fd_close", "i32"),
    ("fd_fdstat_get", "i32 i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_prestat_dir_name", "i32 i32 i32"),
    ("fd_prestat_get", "i32 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("random_get", "i32 i32"),
    ("sched_yield", ""),
    ("sock_send", "i32 i32 i32 i32 i32"),
];

/// A gateway whose filter reports in its start what this script does, with the functions of this WASI module.
async fn started(module: &str, script: &str, keys: &str) -> Gateway {
    let functions = FUNCTIONS.map(|(name, parameters)| {
        format!(r#"(import "{module}" "{name}" (func ${name} (param {parameters}) (result i32)))"#)
    });
    let exit = format!(r#"(import "{module}" "proc_exit" (func $proc_exit (param i32)))"#);
    let module = scripted_with(
        &format!("{}{exit}", functions.concat()),
        "",
        &[
            ("proxy_on_configure", &format!("{script}\nsay")),
            ("proxy_on_request_headers", "text serves\nanswer"),
        ],
    );
    let gateway = filtered(&Origin::answer(OK), &module, keys).await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "serves\n");
    gateway
}

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

#[tokio::test]
async fn clocks_return_the_time_and_advance() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let script = "
        text times
        clock_time_get 0 1L -> u64
        clock_time_get 1 1L -> u64
        clock_time_get 1 1L -> u64
        clock_time_get 2 1L -> u64
        clock_time_get 3 1L -> u64
        clock_time_get 4 1L -> u64
        clock_res_get 0 -> u64
        clock_res_get 9 -> u64";
    for module in MODULES {
        let gateway = started(module, script, "").await;
        let line = gateway.wait_for_log("times|").await;
        let (_, report) = line.split_once("times|").unwrap();
        let times: Vec<(u32, u128)> = report
            .split('|')
            .filter_map(|entry| entry.split_once(' '))
            .filter_map(|(errno, value)| Some((errno.parse().ok()?, value.parse().ok()?)))
            .collect();
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        assert!(times[0].0 == 0 && before <= times[0].1 && times[0].1 <= after, "{line}");
        assert!(times[1].1 > 0 && times[1].1 <= times[2].1, "{line}");
        let errnos: Vec<u32> = times.iter().map(|(errno, _)| *errno).collect();
        assert_eq!(errnos, [0, 0, 0, 0, 0, 28, 0, 28], "{line}");
    }
}

#[tokio::test]
async fn random_numbers_are_written_where_they_are_asked_for() {
    let script = "
        random_get 0 8
        (local.set 0 (i32.wrap_i64 (i64.load (i32.const 0))))
        random_get 0 8
        (local.set 1 (i32.ne (local.get 0) (i32.wrap_i64 (i64.load (i32.const 0)))))
        random_get 0 0
        random_get 0 65536
        random_get 0 65537
        random_get 0 -1
        random_get -4 8
        text different
        number $1";
    // The largest writes over the test's own texts, and over its report.
    let script = script.replace("random_get 0 65536", "random_get 0x80000 65536");
    for module in MODULES {
        let gateway = started(module, &script, "").await;
        gateway.wait_for_log("0|0|0|0|28|28|21|different|1|").await;
    }
}

#[tokio::test]
async fn the_environment_is_what_the_configuration_gives_and_nothing_else() {
    let script = "
        environ_sizes_get -> u32 u32
        environ_get 0x200 0x300
        (call $show (i32.load (i32.const 0x200)) (i32.const 6))
        (call $line)
        (call $show (i32.load (i32.const 0x204)) (i32.const 5))
        (call $line)
        args_sizes_get -> u32 u32
        args_get 0 0";
    for module in MODULES {
        let gateway = started(module, script, ", env: { MODE: a, X: '=b=' }").await;
        // `MODE=a` and `X==b=`, each with its NUL.
        gateway.wait_for_log("0 2 13|0|MODE=a|X==b=|0 0 0|0|").await;
        let gateway = started(module, "environ_sizes_get -> u32 u32", "").await;
        gateway.wait_for_log("0 0 0|").await;
    }
}

/// Lines of a script that point the slices from 0x100 on at these texts, which are put behind each other from 0x180 on.
fn slices(texts: &[&str]) -> String {
    let mut script = String::new();
    let mut at = 0x180;
    for (index, text) in texts.iter().enumerate() {
        for (offset, byte) in text.bytes().enumerate() {
            script += &format!("(i32.store8 (i32.const {}) (i32.const {byte}))\n", at + offset);
        }
        script += &format!("(i32.store (i32.const {}) (i32.const {at}))\n", 0x100 + index * 8);
        script += &format!("(i32.store (i32.const {}) (i32.const {}))\n", 0x104 + index * 8, text.len());
        at += text.len();
    }
    script
}

#[tokio::test]
async fn output_becomes_log_lines_as_soon_as_they_end() {
    let first = slices(&["first ", "line\nsec", "ond\x1b line"]);
    let second = slices(&[" goes on\n\nthird"]);
    let script = format!(
        "{first}
        fd_write 1 0x100 3 -> u32
        fd_write 2 0x100 2 -> u32
        {second}
        fd_write 1 0x100 1 -> u32
        fd_write 3 0x100 1 -> u32
        fd_write 0 0x100 1 -> u32
        fd_write 1 0x100 1025 -> u32
        fd_write 1 -4 1 -> u32
        fd_write 1 0x100 0 -> u32
        text written"
    );
    for module in MODULES {
        let gateway = started(module, &script, "").await;
        gateway.wait_for_log("0 23|0 14|0 15|8 0|8 0|28 0|21 0|0 0|written|").await;
        let first = gateway.wait_for_log("first line").await;
        assert!(first.contains("INFO") && first.contains("filter=\"test\""), "{first}");
        let logs = gateway.logs();
        assert!(logs.iter().any(|line| line.contains("ERROR") && line.contains("first line")), "{logs:#?}");
        assert!(logs.iter().any(|line| line.contains(r"second\u{1b} line goes on")), "{logs:#?}");
        assert!(!logs.iter().any(|line| line.contains("third")), "it has not ended: {logs:#?}");
    }
}

#[tokio::test]
async fn a_write_takes_so_much_and_says_how_much_and_keeps_the_worker_no_longer() {
    // Half a megabyte of line ends, thirty-two times; then what is not memory, though it would not all be taken.
    let script = "
        (memory.fill (i32.const 0x80000) (i32.const 10) (i32.const 0x70000))
        (local.set 0 (i32.const 0))
        (loop $next
          (i32.store (i32.add (i32.const 0x100) (i32.mul (local.get 0) (i32.const 8))) (i32.const 0x80000))
          (i32.store (i32.add (i32.const 0x104) (i32.mul (local.get 0) (i32.const 8))) (i32.const 0x70000))
          (local.set 0 (i32.add (local.get 0) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get 0) (i32.const 32))))
        fd_write 1 0x100 32 -> u32
        (i32.store (i32.const 0x104) (i32.const 0x7fffffff))
        fd_write 1 0x100 1 -> u32
        answer";
    let import = r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;
    let module = scripted_with(import, "", &[("proxy_on_request_headers", script)]);
    let gateway = filtered(&Origin::answer(OK), &module, ", limits: { time: 10s }").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "0 65536\n21 0\n");
    gateway.wait_for_log("further lines are dropped").await;
    assert!(gateway.logs().len() < 1100, "{} lines", gateway.logs().len());
}

#[tokio::test]
async fn file_and_socket_functions_are_refused() {
    let script = "
        path_open 3 0 0x1000 4 0 0L 0L 0 0x100
        path_unlink_file 3 0x1000 4
        sock_send 3 0x100 1 0 0x100
        fd_seek 1 0L 0 0x100
        fd_prestat_get 3 0x100
        fd_prestat_dir_name 3 0x100 10
        fd_read 0 0x100 1 -> u32
        fd_read 3 0x100 1 -> u32
        fd_close 1
        fd_close 3
        fd_fdstat_get 1 0x100
        (call $show_number (i64.load8_u (i32.const 0x100)))
        (call $line)
        fd_fdstat_get 3 0x100
        fd_fdstat_get 1 -8
        fd_fdstat_set_flags 1 0
        fd_fdstat_set_flags 3 0
        sched_yield
        text over";
    for module in MODULES {
        let gateway = started(module, script, "").await;
        gateway.wait_for_log("58|58|58|58|8|8|0 0|8 0|0|8|0|2|8|21|0|8|0|over|").await;
    }
}

#[tokio::test]
async fn a_clock_that_is_waited_for_has_struck_and_nothing_else_is_waited_for() {
    // Subscriptions of 48 bytes: a clock with user data 7, and a file with user data 9. Events of 32 bytes.
    let script = "
        (i64.store (i32.const 0x60000) (i64.const 7))
        (i64.store (i32.const 0x60030) (i64.const 9))
        (i32.store8 (i32.const 0x60038) (i32.const 1))
        poll_oneoff 0x60000 0x61000 2 0x62000
        (call $show_number (i64.load32_u (i32.const 0x62000)))
        (call $line)
        (call $show_number (i64.load32_u (i32.const 0x61000)))
        (call $line)
        (call $show_number (i64.load16_u (i32.const 0x61008)))
        (call $line)
        (call $show_number (i64.load32_u (i32.const 0x61020)))
        (call $line)
        (call $show_number (i64.load16_u (i32.const 0x61028)))
        (call $line)
        poll_oneoff 0x60000 0x61000 0 0x62000
        poll_oneoff 0x60000 0x61000 1000000 0x62000
        poll_oneoff -8 0x61000 1 0x62000
        poll_oneoff 0x60000 -8 1 0x62000
        text over";
    for module in MODULES {
        let gateway = started(module, script, "").await;
        gateway.wait_for_log("0|2|7|0|9|58|28|28|21|21|over|").await;
    }
}

#[tokio::test]
async fn a_program_may_end_well_in_its_start_and_is_called_all_the_same() {
    let imports = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;
    for name in ["_start", "_initialize"] {
        let exit = "(call $proc_exit (i32.const 0))\ntext never\nsay";
        let module =
            scripted_with(imports, "", &[(name, exit), ("proxy_on_request_headers", "text serves\nanswer")]);
        let gateway = filtered(&Origin::answer(OK), &module, "").await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), "serves\n");
        assert!(!gateway.logs().iter().any(|line| line.contains("never")));
    }
}
