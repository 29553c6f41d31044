//! The costs of compiling a module: memory that the gateway does not keep, and no lines in its log.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use support::{Gateway, Pid, Signal, kill_process, wait_until, within};

use crate::PROGRAM;
use crate::reloading::{BASE, get, post, serves};

/// A module of many small functions, which takes many times its size to compile: of `functions` there are some 150 bytes each.
fn large_module(functions: usize) -> Vec<u8> {
    let mut text = String::from(
        r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 8))"#,
    );
    for function in 0..functions {
        let other = (function * 7 + 1) % functions;
        let step = format!(
            "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const {function})) (i32.load offset=8 (local.get 1))))
            (if (i32.gt_s (local.get 0) (i32.const 77)) (then (local.set 1 (call $f{other} (local.get 1) (local.get 0)))))"
        );
        text +=
            &format!("(func $f{function} (param i32 i32) (result i32) {} (local.get 0))\n", step.repeat(4));
    }
    text.push(')');
    wat::parse_str(text).unwrap()
}

const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
workers: 1
wasm: { cache: CACHE }
routes: [{ name: all, respond: { body: own }, filters: [{ wasm: large.wasm }] }]";

/// Bytes by which a filter of [`large_module`] may let the gateway grow, at most and ever: its engine, its code and its
/// instances. Compiled in the gateway itself, the module takes half as much again.
const GROWTH_MAX: u64 = 20 << 20;

async fn start(module: &[u8], cache: &str) -> Gateway {
    Gateway::builder(PROGRAM, CONFIG.replace("CACHE", cache)).file("large.wasm", module).start().await
}

#[tokio::test]
async fn gateway_never_has_the_memory_that_compiling_a_module_takes() {
    let large = large_module(150);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().display().to_string();
    let without = CONFIG.replace(", filters: [{ wasm: large.wasm }]", "").replace("CACHE", "off");
    let without = Gateway::builder(PROGRAM, without).start().await;
    let least = without.memory("VmHWM");
    // Compiled without a cache; compiled and stored; from the cache.
    for cache in ["off", &cache, &cache] {
        let gateway = start(&large, cache).await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), "own");
        let most = gateway.memory("VmHWM");
        let grown = most.saturating_sub(least);
        assert!(grown < GROWTH_MAX, "{grown} bytes beside {least} for {} bytes of module", large.len());
    }
}

/// Runs the compiler by itself.
fn compiler(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that refuses its arguments reads nothing.
    stdin.write_all(input).ok();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn compiler_writes_code_or_why_there_is_none() {
    let compiled = compiler(&["compile-module"], &large_module(2));
    assert_eq!(compiled.status.code(), Some(0));
    assert!(compiled.stdout.starts_with(b"\x7fELF"));
    for input in [&b"\0asm\x01\0\0\0\xff"[..], b""] {
        let refused = compiler(&["compile-module"], input);
        assert_eq!(refused.status.code(), Some(65));
        assert!(!refused.stdout.is_empty() && refused.stdout.is_ascii());
    }
    let help = compiler(&["--help"], b"");
    assert!(!String::from_utf8(help.stdout).unwrap().contains("compile-module"), "it is not for people");
}

#[tokio::test]
async fn module_that_takes_more_memory_to_compile_than_there_may_be_is_an_error_that_says_so() {
    let module = format!(
        r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (local.get 0) {}))"#,
        "i32.eqz ".repeat(400_000)
    );
    let started = Gateway::builder(PROGRAM, CONFIG.replace("CACHE", "off"))
        .file("large.wasm", wat::parse_str(module).unwrap())
        .data_max(64 << 10)
        .run_to_exit()
        .await;
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(said.contains("it cannot be compiled now: the process that compiles it "), "{said}");
    assert!(said.contains("it may have needed more than its 64MiB"), "{said}");
    assert_eq!(started.status.code(), Some(1));
}

#[tokio::test]
async fn log_at_debug_has_no_lines_of_the_compiler_unless_they_are_asked_for() {
    // In the gateway's own process the compiler writes no line at all; what it writes while it loads code, it writes there.
    let module = large_module(20);
    for (variable, library) in [("debug", false), ("trace", false), ("debug,wasmtime=trace", true)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("large.wasm"), &module).unwrap();
        let config = folder.path().join("gateway.yaml");
        fs::write(&config, CONFIG.replace("CACHE", "off")).unwrap();
        let variable = format!("RUST_LOG={variable}");
        let config = config.display().to_string();
        let arguments =
            [&variable, PROGRAM, "check", "--config", &config, "--log-format", "json"].map(str::to_owned);
        let output = Command::new("env").args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let of_libraries = said.lines().filter(|line| !line.contains(r#""target":"gateway"#)).count();
        assert_eq!(of_libraries > 0, library, "{variable}: {said}");
    }
}

/// A route that answers by itself, before a filter of [`large_module`] is added to it.
const ROUTE: &str = "wasm: { cache: off }\nroutes: [{ name: all, respond: { body: BODY }, filters: [] }]";

fn route(body: &str, filters: &str) -> String {
    format!("{BASE}{}", ROUTE.replace("BODY", body).replace("[] }]", &format!("[{filters}] }}]")))
}

/// A gateway without filters, beside a module that takes long to compile.
async fn before_compiling() -> Gateway {
    let builder = Gateway::builder(PROGRAM, route("before", ""));
    builder.file("large.wasm", large_module(400)).start().await
}

/// The compiler that a gateway runs, if it runs one.
fn compiler_of(gateway: &Gateway) -> Option<Pid> {
    let parent = gateway.pid().to_string();
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name();
        let pid = name.to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let [state, of, _] = state_parent_and_group(pid)?;
        (of == parent && state != "Z").then_some(pid)
    })
}

/// Returns three fields of proc(5) about a process, if it exists.
fn state_parent_and_group(pid: Pid) -> Option<[String; 3]> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The three fields follow the name, which is in parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some([fields.next()?, fields.next()?, fields.next()?])
}

/// True once the compiler has limited its memory, which it does when signals no longer end it.
fn is_set_up(pid: Pid) -> bool {
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap_or_default();
    let data = limits.lines().find_map(|line| line.strip_prefix("Max data size"));
    data.is_some_and(|limits| !limits.trim_start().starts_with("unlimited"))
}

/// Stops (SIGSTOP) the compiler of a gateway after its set-up. `None` if it was done before it could be stopped, which
/// happens on a busy machine.
async fn stop_compiler(gateway: &Gateway) -> Option<Pid> {
    let reloaded = || gateway.output().contains("configuration reloaded");
    let set_up = || compiler_of(gateway).filter(|&pid| is_set_up(pid));
    wait_until("a compiler", async || set_up().is_some() || reloaded()).await;
    let pid = set_up()?;
    kill_process(pid, Signal::STOP).ok()?;
    let state = || state_parent_and_group(pid).map_or_else(|| "X".to_owned(), |[state, ..]| state);
    wait_until("the compiler stops or ends", async || ["T", "Z", "X"].contains(&&*state())).await;
    (state() == "T").then_some(pid)
}

/// A gateway in the middle of a reload: its compiler has been stopped.
async fn compiling() -> (Gateway, Pid) {
    within("a compiler that was stopped in time", async {
        loop {
            let gateway = before_compiling().await;
            gateway.rewrite_config(&route("after", "{ wasm: large.wasm }"));
            if let Some(compiler) = stop_compiler(&gateway).await {
                return (gateway, compiler);
            }
        }
    })
    .await
}

#[tokio::test]
async fn compiler_ignores_signals_that_are_meant_for_the_gateway() {
    let (gateway, compiler) = compiling().await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::CONT] {
        kill_process(compiler, signal).unwrap();
    }
    serves(&gateway, "after").await;
    assert!(!gateway.output().contains("cannot be compiled"), "{}", gateway.output());
}

#[tokio::test]
async fn compiler_is_in_no_process_group_of_the_gateway_and_ends_with_it() {
    let (mut gateway, compiler) = compiling().await;
    let [_, _, group] = state_parent_and_group(compiler).unwrap();
    assert_eq!(group, compiler.as_raw_nonzero().to_string());
    gateway.signal(Signal::KILL);
    gateway.wait_exit(support::PATIENCE).await;
    let file = format!("/proc/{}/cmdline", compiler.as_raw_nonzero());
    let runs = || fs::read(&file).is_ok_and(|command| command.ends_with(b"compile-module\0"));
    wait_until("the end of the compiler", async || !runs()).await;
}

#[tokio::test]
async fn killed_compiler_is_started_again_and_its_filter_serves() {
    let (gateway, compiler) = compiling().await;
    assert_eq!(get(&gateway, "/").await, "before");
    kill_process(compiler, Signal::KILL).unwrap();
    gateway.wait_for_log("was ended by signal 9").await;
    // No file changes: the retry brings it about.
    serves(&gateway, "after").await;
    assert_eq!(gateway.metric("gateway_config_in_sync").await, Some(1.0));
}

#[tokio::test]
async fn killed_compiler_of_a_reload_that_was_asked_for_refuses_no_file() {
    // Open until the end, so that nothing but a request brings a reload about.
    let (gateway, response, _open) = within("a compiler that was killed in time", async {
        loop {
            let gateway = before_compiling().await;
            let open = crate::reloading::write_open(
                &crate::reloading::file(&gateway),
                route("after", "{ wasm: large.wasm }"),
            );
            let (response, killed) = tokio::join!(post(&gateway), async {
                stop_compiler(&gateway).await.map(|compiler| kill_process(compiler, Signal::KILL).unwrap())
            });
            if killed.is_some() {
                return (gateway, response, open);
            }
        }
    })
    .await;
    assert_eq!(response.status, 422, "{}", response.text());
    assert!(response.text().contains("it cannot be compiled now"), "{}", response.text());
    assert_eq!(get(&gateway, "/").await, "before");
    // Asked once more, it compiles, although the files are those that were refused.
    wait_until("the reload", async || {
        let status = post(&gateway).await.status;
        // On a busy machine it takes longer than a client is kept waiting.
        assert!([200, 504].contains(&status), "{status}: {}", gateway.output());
        status == 200
    })
    .await;
    assert_eq!(get(&gateway, "/").await, "after");
}
