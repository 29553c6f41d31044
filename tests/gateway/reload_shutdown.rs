//! The end of the process while and after the configuration changes.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Certificates, Gate, Gateway, PATIENCE, Signal, unused_address, wait_until};

use crate::reload_clients::{ADMIN, AnyClient, builder, clients, config, gated, listens, reload};

const DRAIN: Duration = Duration::from_millis(300);

/// A route to the origin, and so long to drain.
fn up(drain: &str) -> String {
    config(&format!(
        "shutdown: {{ drain: {drain} }}\nroutes: [{{ name: up, upstream: {{ url: '{{origin}}' }} }}]"
    ))
}

/// Asks on a connection of each kind, and waits until all have reached the origin.
async fn asked(gateway: &Gateway, certificates: &Certificates, gate: &Gate) -> Vec<AnyClient> {
    let mut waiting = Vec::new();
    for mut client in clients(gateway, certificates).await {
        client.ask("/").await;
        waiting.push(client);
    }
    gate.arrivals(waiting.len()).await;
    waiting
}

#[tokio::test]
async fn a_reload_that_is_being_built_holds_the_end_up_in_no_way() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = gated(&gate, "up");
    let mut gateway = builder(up("60s"), &certificates, &origin).start().await;
    let waiting = asked(&gateway, &certificates, &gate).await;
    // A read from this waits until a writer has opened and closed it.
    let pipe = gateway.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    gateway.rewrite_config(&up("60s").replace("{cert}", &pipe.display().to_string()));
    let opened = tokio::task::spawn_blocking(move || File::options().write(true).open(pipe));
    let writer = tokio::time::timeout(PATIENCE, opened).await.expect("the reload reads it").unwrap().unwrap();
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    gate.release_all();
    for mut client in waiting {
        assert_eq!(client.answer("-").await.2, "up", "{}", client.kind);
        client.closed().await;
    }
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    drop(writer);
}

#[tokio::test]
async fn requests_in_flight_on_old_and_new_listeners_and_pools_are_answered() {
    let certificates = Certificates::new();
    let (gate, other_gate) = (Gate::new(), Gate::new());
    let (origin, other_origin) = (gated(&gate, "up"), gated(&other_gate, "other"));
    let mut gateway = builder(up("60s"), &certificates, &origin).start().await;
    let mut waiting = asked(&gateway, &certificates, &gate).await;
    // The pool goes; then the listeners do.
    reload(&gateway, &up("60s").replace("{origin}", &other_origin.url())).await;
    waiting.extend(asked(&gateway, &certificates, &other_gate).await);
    let new = unused_address();
    let other = "routes: [{ respond: {} }]";
    let elsewhere = format!("{ADMIN}listeners: [{{ name: new, address: {new} }}]\n{other}");
    reload(&gateway, &elsewhere).await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    // Nothing brings about a reload any more.
    gateway.rewrite_config(&up("1ms"));
    gateway.signal(Signal::HUP);
    // What listened last has ended, and the process waits for what ended before.
    wait_until("the new listener is closed", async || !listens(new)).await;
    assert_eq!(gateway.admin("/ready").await.status, 503);
    gate.release_all();
    other_gate.release_all();
    for (index, mut client) in waiting.into_iter().enumerate() {
        let expected = if index < 4 { "up" } else { "other" };
        assert_eq!(client.answer("-").await.2, expected, "{}", client.kind);
        client.closed().await;
    }
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert_eq!(gateway.logs().iter().filter(|line| line.contains("configuration reloaded")).count(), 2);
}

#[tokio::test]
async fn the_time_to_drain_is_the_present_one_and_holds_for_what_reloads_left_behind() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = gated(&gate, "up");
    let mut gateway = builder(up("60s"), &certificates, &origin).start().await;
    let waiting = asked(&gateway, &certificates, &gate).await;
    let present = format!("{}ms", DRAIN.as_millis());
    let elsewhere = format!(
        "{}listeners: [{{ name: n, address: '[::1]:0' }}]\nshutdown: {{ drain: {present} }}\nroutes: [{{ respond: {{}} }}]",
        ADMIN
    );
    reload(&gateway, &elsewhere).await;
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() >= DRAIN, "after {:?}", began.elapsed());
    gateway.wait_for_log("drain time is over").await;
    let cut = gateway.stdout_lines().iter().filter(|line| line.contains("shutdown.drain")).count();
    assert_eq!(cut, waiting.len(), "{}", gateway.output());
}

#[tokio::test]
async fn a_second_signal_ends_what_reloads_left_behind_at_once() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = gated(&gate, "up");
    let mut gateway = builder(up("off"), &certificates, &origin).start().await;
    let waiting = asked(&gateway, &certificates, &gate).await;
    reload(&gateway, &up("off").replace("{origin}", "http://127.0.0.1:1").replace("name: web", "name: w"))
        .await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    gateway.wait_for_log("second signal").await;
    assert_eq!(waiting.len(), 4);
}

#[tokio::test]
async fn a_signal_in_the_midst_of_a_reload_ends_the_process_in_good_order() {
    let certificates = Certificates::new();
    // At each of these moments after the file has changed.
    for microseconds in [0, 500, 1_000, 2_000, 3_000, 5_000] {
        let gate = Gate::new();
        let origin = gated(&gate, "up");
        let mut gateway = builder(up("60s"), &certificates, &origin).start().await;
        let waiting = asked(&gateway, &certificates, &gate).await;
        gateway.rewrite_config(
            &up("50s")
                .replace("{origin}", "http://127.0.0.1:1")
                .replace("name: web, address: 127.0.0.1:0", "name: web, address: '[::1]:0'"),
        );
        gateway.signal(Signal::HUP);
        let began = Instant::now();
        wait_until("the moment", async || began.elapsed() >= Duration::from_micros(microseconds)).await;
        gateway.signal(Signal::TERM);
        gateway.wait_for_log("stopping").await;
        gate.release_all();
        for mut client in waiting {
            assert_eq!(client.answer("-").await.2, "up", "{}", client.kind);
            client.closed().await;
        }
        let status = gateway.wait_exit(PATIENCE).await;
        assert!(status.success(), "{status}");
        let lines = gateway.stdout_lines().iter().filter(|line| line.contains(r#""route":"up""#)).count();
        assert_eq!(lines, 4, "{}", gateway.output());
    }
}
