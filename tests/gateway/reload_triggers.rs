//! Triggers of a reload, events that trigger none, and the answers to requests for one.

use std::fs;
use std::io::Write;

use support::serde_json::{Value, from_slice, json};
use support::{Client, Origin, Signal, wait_until};

use crate::pooled::number;
use crate::reloading::{
    BASE, Clock, answering, check_errors, file, get, in_sync, is_generation, post, post_with, refused,
    refused_times, replace, report, serves, start, write_in_place, write_open,
};

#[tokio::test]
async fn writes_without_new_content_make_no_generation() {
    let gateway = start(answering("first")).await;
    let mut clock = Clock::start().await;
    let file = file(&gateway);
    let (text, touched) = (answering("first"), file.clone());
    let idle: [(&str, Box<dyn Fn()>); 4] = [
        (
            "touched",
            Box::new(move || fs::File::open(&touched).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()),
        ),
        (
            "written again",
            Box::new({
                let (file, text) = (file.clone(), text.clone());
                move || write_in_place(&file, &text)
            }),
        ),
        (
            "replaced by a copy",
            Box::new({
                let (file, text) = (file.clone(), text.clone());
                move || replace(&file, &text)
            }),
        ),
        (
            "read",
            Box::new({
                let file = file.clone();
                move || drop(fs::read(&file).unwrap())
            }),
        ),
    ];
    for (number, (what, act)) in (2..).zip(&idle) {
        act();
        clock.tick().await;
        // Asked for, it is found to be what serves; and it has not been counted by itself before that.
        let answer: Value = from_slice(&post(&gateway).await.body).unwrap();
        assert_eq!(answer["changed"], false, "{what}: {answer}");
        // A change that is one is the next generation: nothing came between, and nothing after.
        gateway.reload(&answering(what)).await;
        assert_eq!(get(&gateway, "/").await, *what);
        assert_eq!(gateway.generation().await, 2 * number - 2, "{what}");
        gateway.reload(&text).await;
    }
    assert_eq!(refused(&gateway).await, 0);
    let idle_reloads =
        gateway.logs().iter().filter(|line| line.contains("configuration has not changed")).count();
    assert_eq!(idle_reloads, idle.len(), "only those that were asked for\n{}", gateway.output());
}

#[tokio::test]
async fn a_comment_is_a_generation_that_changes_nothing() {
    let origin = Origin::echo();
    let config = format!(
        "{BASE}routes: [{{ name: up, match: {{ prefix: / }}, upstream: {{ url: '{}' }} }}]\n",
        origin.url()
    );
    let gateway = start(config.clone()).await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    gateway.reload(&format!("# for people\n{config}")).await;
    assert!(gateway.wait_for_log("configuration reloaded").await.contains("changed=nothing"));
    // What `/config` shows is what is on disk, comments and all.
    assert!(gateway.admin("/config").await.text().starts_with("# for people\n"));
    assert_eq!(client.get("/").await.status, 200);
    let pool = gateway.wait_for_pool("up", "its connection again", |pool| pool["idle"] == 1).await;
    assert_eq!((number(&pool, "opened"), number(&pool, "reused")), (1, 1), "{pool:#}");
    assert_eq!(
        report(&gateway).await["changes"]["routes"],
        json!({ "added": [], "changed": [], "drained": [], "kept": 1 })
    );
}

#[tokio::test]
async fn post_reload_responds_with_the_outcome() {
    let gateway = start(answering("first")).await;
    let fresh = report(&gateway).await;
    assert_eq!(
        (&fresh["generation"], &fresh["in_sync"], &fresh["error_text"]),
        (&json!(1), &json!(true), &Value::Null)
    );

    let same = post(&gateway).await;
    assert_eq!((same.status, same.header("content-type")), (200, Some("application/json")));
    let same: Value = from_slice(&same.body).unwrap();
    assert_eq!((&same["changed"], &same["generation"]), (&json!(false), &json!(1)), "{same}");

    let open = write_open(&file(&gateway), answering("second"));
    let live = post(&gateway).await;
    drop(open);
    assert_eq!(live.status, 200);
    // What it says is so: no waiting here.
    assert_eq!(get(&gateway, "/").await, "second");
    let live: Value = from_slice(&live.body).unwrap();
    assert_eq!((&live["changed"], &live["generation"]), (&json!(true), &json!(2)), "{live}");
    assert_eq!(
        live["changes"]["routes"]["changed"],
        json!([{ "name": "all", "keys": ["respond.body"] }]),
        "{live}"
    );

    gateway.rewrite_config(&answering("third").replace("respond", "resond"));
    let bad = post(&gateway).await;
    assert_eq!((bad.status, bad.header("content-type")), (422, Some("application/problem+json")));
    let bad: Value = from_slice(&bad.body).unwrap();
    assert_eq!(bad["error_text"], check_errors(&gateway).await);
    assert_eq!((&bad["errors"][0]["line"], &bad["errors"][1]["column"]), (&json!(5), &json!(45)), "{bad}");
    assert_eq!(get(&gateway, "/").await, "second");
    let told = report(&gateway).await;
    assert_eq!(
        (&told["generation"], &told["in_sync"], &told["error_text"]),
        (&json!(2), &json!(false), &bad["error_text"])
    );
    // Who asks again is told again.
    assert_eq!(post(&gateway).await.status, 422);
    let times = refused(&gateway).await;

    gateway.rewrite_config(&answering("second"));
    let back: Value = from_slice(&post(&gateway).await.body).unwrap();
    assert_eq!(
        (&back["changed"], &back["generation"], &back["in_sync"]),
        (&json!(false), &json!(2), &json!(true)),
        "{back}"
    );
    assert_eq!((back["error_text"].clone(), refused(&gateway).await), (Value::Null, times));
}

#[tokio::test]
async fn a_hangup_reloads_what_differs_and_says_so_where_nothing_does() {
    let gateway = start(answering("first")).await;
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("SIGHUP").await;
    gateway.wait_for_log("the configuration has not changed").await;
    assert_eq!(gateway.generation().await, 1);

    // In the middle of writing nothing happens by itself; who asks gets what there is.
    let mut open = write_open(&file(&gateway), answering("second") + "# more");
    gateway.signal(Signal::HUP);
    serves(&gateway, "second").await;

    open.write_all(b"\nnothing: [").unwrap();
    gateway.signal(Signal::HUP);
    refused_times(&gateway, 1).await;
    assert!(!in_sync(&gateway).await);
    assert_eq!(get(&gateway, "/").await, "second");
    drop(open);
    gateway.rewrite_config(&answering("third"));
    gateway.signal(Signal::HUP);
    serves(&gateway, "third").await;
    is_generation(&gateway, 3).await;
    assert_eq!(refused(&gateway).await, 1, "{}", gateway.output());
}

#[tokio::test]
async fn a_page_of_another_site_cannot_reload() {
    let gateway = start(answering("first")).await;
    // Held open, so that nothing but a request makes it live.
    let _open = write_open(&file(&gateway), answering("second"));
    let foreign = [
        [("origin", "http://evil.test"), ("x", "")],
        [("origin", "null"), ("x", "")],
        [("host", "evil.test"), ("origin", "http://evil.test")],
    ];
    for fields in foreign {
        let mut client = Client::connect(gateway.admin_addr()).await;
        let fields = if fields[0].0 == "host" {
            fields.to_vec()
        } else {
            [&[("host", "localhost")], &fields[..]].concat()
        };
        let answer = client.request("POST", "/reload", &fields, b"").await;
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    assert_eq!((get(&gateway, "/").await.as_str(), gateway.generation().await), ("first", 1));
    assert_eq!(post_with(&gateway, &[("origin", "http://localhost")]).await.status, 200);
    assert_eq!((get(&gateway, "/").await.as_str(), gateway.generation().await), ("second", 2));
}

#[tokio::test]
async fn reloads_that_are_asked_for_during_another_take_their_turn() {
    let gateway = start(answering("first")).await;
    let pipe = gateway.folder().join("held.pem");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A read from this waits for a writer, and the reload with it.
    let held = format!(
        "{BASE}routes: [{{ name: all, match: {{ prefix: / }}, upstream: {{ url: 'https://127.0.0.1:1', tls: {{ ca: held.pem }} }} }}]\n"
    );
    gateway.rewrite_config(&held);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(gateway.admin_addr()).await;
        client.send_raw("POST /reload HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        asked.push(client);
    }
    // The pipe has a reader when the reload is under way.
    let writer = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe).unwrap());
    let mut writer = support::within("the reload to read the pipe", writer).await.unwrap();
    assert_eq!(get(&gateway, "/").await, "first");
    assert_eq!(report(&gateway).await["generation"], 1);
    gateway.rewrite_config(&answering("second"));
    let certificates = support::Certificates::new();
    writer.write_all(&fs::read(certificates.ca()).unwrap()).unwrap();
    drop(writer);
    for client in &mut asked {
        let answer = client.read_response().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    serves(&gateway, "second").await;
    wait_until("both to be counted", async || gateway.generation().await == 3).await;
    assert_eq!(refused(&gateway).await, 0, "{}", gateway.output());
}
