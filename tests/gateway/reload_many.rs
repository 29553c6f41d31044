//! Hundreds of reloads, one after the other, under load: no request notices them, and they leave nothing behind.

pub(crate) mod heap;

use std::fs;

use support::serde_json::{Value, json};
use support::{Certificates, Gate, Gateway, Origin, wait_until};

use crate::load::{Connection, Load, reload, told};
use crate::pooled::number;

/// Reloads in each half: the remains of the first half are compared with those of both.
const RELOADS: u64 = 100;

const PATHS: [&str; 3] = ["/unchanged", "/moving", "/fixed"];

/// An origin each of whose requests has to pass the gate.
fn gated(name: &'static str, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                gate.pass().await;
                connection.write(told(name, &request)).await;
            }
        }
    })
}

/// The site that the reloads change.
struct Site {
    certificates: Certificates,
    unchanged: Origin,
    /// The one of them that serves `/moving`, in turn.
    moving: [Origin; 2],
}

impl Site {
    /// The configuration of a generation. Each differs from the one before in what `/fixed` answers, and most in more.
    fn config(&self, generation: u64) -> Value {
        let odd = |every: u64| usize::from(generation / every % 2 == 1);
        let mut listeners = vec![
            json!({ "name": "web", "address": "127.0.0.1:0" }),
            json!({ "name": "secure", "address": "127.0.0.1:0",
                    "tls": { "certificates": [{ "cert": self.pem(), "key": self.pem() }] } }),
        ];
        let mut routes = vec![
            json!({ "name": "unchanged", "match": { "path": "/unchanged" }, "upstream": { "url": self.unchanged.url() }, "pool": { "idle_timeout": "off" } }),
            json!({ "name": "moving", "match": { "path": "/moving" }, "upstream": { "url": self.moving[odd(2)].url() },
                    "pool": { "max_idle": 60 + odd(3) } }),
            json!({ "name": "fixed", "match": { "path": "/fixed" }, "respond": { "body": format!("{generation:03}") } }),
        ];
        if odd(5) == 1 {
            listeners.push(json!({ "name": "added", "address": "127.0.0.1:0" }));
        }
        if odd(7) == 1 {
            routes.push(json!({ "name": "added", "upstream": { "url": self.unchanged.url() } }));
        }
        json!({
            "workers": 2,
            "listeners": listeners,
            "admin": { "address": "127.0.0.1:0" },
            "telemetry": { "access_log": "off" },
            "routes": routes,
        })
    }

    /// A certificate and its key in one file, so that they are never seen apart.
    fn pem(&self) -> String {
        self.certificates.folder().join("both.pem").to_str().unwrap().to_owned()
    }

    fn renew_certificate(&self) {
        let identity = self.certificates.server(&["gateway.test"]);
        let both = [fs::read(identity.cert).unwrap(), fs::read(identity.key).unwrap()].concat();
        let written = self.certificates.folder().join("new.pem");
        fs::write(&written, both).unwrap();
        fs::rename(written, self.pem()).unwrap();
    }
}

/// Returns the numbers of a gateway's threads and files, except for its upstream connections.
async fn threads_and_files(gateway: &Gateway) -> (usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", gateway.pid())).unwrap().count();
    let files = count("fd");
    let pools = gateway.pools().await;
    let open =
        |pool: &Value| ["idle", "active", "connecting"].iter().map(|state| number(pool, state)).sum::<u64>();
    let connections: u64 = pools.iter().map(open).sum();
    (count("task"), files.saturating_sub(connections as usize))
}

async fn wait_for_metric(gateway: &Gateway, name: &str, value: f64) {
    wait_until(&format!("{name} to be {value}"), async || gateway.metric(name).await == Some(value)).await;
}

#[tokio::test]
async fn two_hundred_reloads_under_load_fail_no_request_and_leak_nothing() {
    let gate = Gate::new();
    let site = Site {
        certificates: Certificates::new(),
        unchanged: gated("unchanged", &gate),
        moving: [0, 1].map(|_| Origin::respond(|request| told("moving", request))),
    };
    site.renew_certificate();
    let gateway = heap::gateway(site.config(1).to_string()).start().await;
    let h2 = site.certificates.client_config(&["h2"]);
    let clients = [
        ("h1", Connection::http1(gateway.addr("web")).await),
        ("h2", Connection::http2(gateway.addr("web")).await),
        ("h2 by TLS", Connection::http2_tls(gateway.addr("secure"), &h2).await),
    ];
    let count = clients.len();
    let mut load = Load::start(&PATHS, clients);
    // At once, so that the pool has as many connections as it will ever need.
    gate.arrivals(count).await;
    gate.release_all();
    load.settle().await;
    let before = threads_and_files(&gateway).await;
    let mut heap = Vec::new();
    for first in [1, RELOADS + 1] {
        for generation in first + 1..=first + RELOADS {
            // The file watcher may reload by itself, and be quicker than the request for the reload.
            let renewed = u64::from(generation % 20 == 0);
            if renewed == 1 {
                site.renew_certificate();
            }
            reload(&gateway, &site.config(generation - renewed), generation).await;
        }
        check(load.settle().await, first, first + RELOADS);
        wait_for_metric(&gateway, "gateway_config_older_kept", 0.0).await;
        // The least of several: what requests have at the moment comes and goes.
        let mut least = usize::MAX;
        for _ in 0..15 {
            least = least.min(heap::in_use(&gateway).await);
            load.settle().await;
        }
        heap.push(least);
        wait_until(&format!("no more threads and files than {before:?}"), async || {
            let (threads, files) = threads_and_files(&gateway).await;
            // One thread that reads files ends only when it was idle for a while.
            threads <= before.0 + 1 && files == before.1
        })
        .await;
    }
    assert_eq!(gateway.generation().await, 2 * RELOADS + 1);
    let unchanged = gateway.pool("unchanged").await;
    assert_eq!((number(&unchanged, "opened"), &unchanged["closed"]), (count as u64, &json!({})));
    assert_eq!(site.unchanged.accepted(), count);
    assert_eq!(gateway.metric("gateway_config_in_sync").await, Some(1.0));
    let (first, second) = (heap[0], heap[1]);
    assert!(
        second * 100 <= first * 105,
        "{first} bytes of heap after {RELOADS} reloads, {second} after twice as many"
    );
}

/// Every answer was right, and those of a client never went back to what was before.
fn check(answers: Vec<Vec<String>>, first: u64, last: u64) {
    for (index, seen) in answers.into_iter().enumerate() {
        let path = PATHS[index % PATHS.len()];
        if path != "/fixed" {
            let is_right =
                |answer: &String| answer.starts_with("200 ") && answer.contains(&format!("GET {path} "));
            assert!(seen.iter().all(is_right), "{path}: {seen:#?}");
            continue;
        }
        let numbers =
            seen.iter().map(|answer| answer.strip_prefix("200 [] ").unwrap().parse::<u64>().unwrap());
        let numbers: Vec<u64> = numbers.collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert!(numbers[0] >= first && numbers.last() == Some(&last), "{numbers:?}");
    }
}
