//! A change of any key, under load: no request fails, no client's connection closes, and exactly the pools that had
//! to change are new.

mod auth;
mod schema;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use support::serde_json::{Map, Value, json};
use support::{Certificates, Gate, Gateway, Origin, Signal, wait_until};
use table::{Edit, Pools, Shows, edits};

use crate::load::{Connection, Load, ask_for_reload, reload, told};
use crate::pooled::number;

/// `workers` cannot change, and without `admin` there is no answer: see the test at the end. Those of a split are in
/// `weighted_split`, those of a mirror in `mirror`, that of a request's identifier
/// in `request_id`, lists of limits in `rate_limit`, stores in `rate_limit_store`, traces in `traces`, the token of the admin listener in `admin`, and the mode of a Unix socket in `unix_listener`. The others exclude the probes that
/// there are, or the balancer.
const ELSEWHERE: [&str; 74] = [
    "workers",
    "admin",
    "admin.token",
    "listeners[].mode",
    "auth.NAME.api_key.query",
    "auth.NAME.api_key.cookie",
    "auth.NAME.jwt.jwks_ca",
    "routes[].auth",
    "routes[].auth.all",
    "routes[].require",
    "routes[].require.scope",
    "routes[].require.group",
    "routes[].require.claims",
    "defaults.auth",
    "defaults.auth.all",
    "defaults.require",
    "defaults.require.scope",
    "defaults.require.group",
    "defaults.require.claims",
    "routes[].rate_limit[].rate",
    "routes[].rate_limit[].burst",
    "routes[].rate_limit[].by",
    "routes[].rate_limit[].queue",
    "defaults.rate_limit[].rate",
    "defaults.rate_limit[].burst",
    "defaults.rate_limit[].by",
    "defaults.rate_limit[].queue",
    "routes[].rate_limit.store",
    "routes[].rate_limit.on_error",
    "routes[].rate_limit[].store",
    "routes[].rate_limit[].on_error",
    "defaults.rate_limit.store",
    "defaults.rate_limit.on_error",
    "defaults.rate_limit[].store",
    "defaults.rate_limit[].on_error",
    "telemetry.traces",
    "telemetry.traces.otlp",
    "telemetry.traces.protocol",
    "telemetry.traces.sample",
    "telemetry.traces.errors",
    "telemetry.traces.parents",
    "telemetry.traces.service",
    "telemetry.traces.resource",
    "telemetry.traces.headers",
    "telemetry.traces.tls.ca",
    "telemetry.traces.tls.client.cert",
    "telemetry.traces.tls.client.key",
    "telemetry.traces.timeout",
    "stores.NAME.url",
    "stores.NAME.tls.ca",
    "stores.NAME.tls.client.cert",
    "stores.NAME.tls.client.key",
    "stores.NAME.pool.max_connections",
    "stores.NAME.timeout",
    "routes[].request_id",
    "defaults.request_id",
    "routes[].mirror",
    "routes[].mirror.to",
    "routes[].mirror.percent",
    "routes[].mirror.max_body",
    "defaults.mirror",
    "defaults.mirror.to",
    "defaults.mirror.percent",
    "defaults.mirror.max_body",
    "routes[].upstream.hash_on",
    "routes[].upstream.health.active.tcp",
    "routes[].upstream.health.active.grpc",
    "routes[].upstream.srv",
    "routes[].upstream[].to",
    "routes[].upstream[].weight",
    "upstreams.NAME.hash_on",
    "upstreams.NAME.srv",
    "upstreams.NAME.health.active.tcp",
    "upstreams.NAME.health.active.grpc",
];

/// Each is asked for by every client in turn.
const PATHS: [&str; 8] =
    ["/unchanged", "/own/x?q=1", "/named", "/inline/a", "/several", "/fixed", "/moved", "/secured"];

/// The origins of the upstreams' pools.
const ORIGINS: [&str; 9] =
    ["unchanged", "own", "named", "inline", "inline2", "inline3", "several", "several2", "several3"];

/// A plugin that has no callbacks, and so lets all messages pass.
pub(crate) const NOTHING: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024))"#;

/// The certificates and origins of the configuration that is edited.
pub(crate) struct Site {
    certificates: Certificates,
    origins: BTreeMap<&'static str, Origin>,
    /// Each origin's requests wait here, until all clients have come: so every pool has as many connections as it
    /// will ever need.
    gates: Vec<Gate>,
}

impl Site {
    fn new() -> Self {
        let certificates = Certificates::new();
        let identity = certificates.server(&["localhost", "other.test"]);
        let server = certificates.server(&["gateway.test"]);
        let client = certificates.client("gateway");
        let folder = certificates.folder();
        for (from, to) in [
            (certificates.ca(), "ca-copy.pem"),
            (server.cert, "server.pem"),
            (server.key, "server.key"),
            (client.cert, "client.pem"),
            (client.key, "client.key"),
        ] {
            fs::copy(&from, folder.join(to)).unwrap();
            fs::copy(&from, folder.join(to.replace('.', "-copy."))).unwrap();
        }
        auth::write_files(folder);
        fs::write(folder.join("revoked.crl"), certificates.revocation_list(&[], 2099)).unwrap();
        for name in ["nothing.wasm", "nothing-copy.wasm"] {
            fs::write(folder.join(name), wat::parse_str(NOTHING).unwrap()).unwrap();
        }
        let mut gates = Vec::new();
        let origins = ORIGINS.into_iter().chain(["other", "other2"]).map(|name| {
            let builder = match name {
                "own" | "named" | "other" | "other2" => {
                    Origin::builder().tls(certificates.server_config(&identity))
                }
                _ => Origin::builder(),
            };
            let gate = Gate::new();
            match name {
                "unchanged" | "own" | "named" => gates.push(gate.clone()),
                _ => gate.release_all(),
            }
            let origin = builder.script(move |mut connection| {
                let gate = gate.clone();
                async move {
                    while let Some(request) = connection.read_request().await {
                        gate.pass().await;
                        // Those of one upstream are one to its clients.
                        connection.write(told(name.trim_end_matches(['2', '3']), &request)).await;
                    }
                }
            });
            (name, origin)
        });
        let origins = origins.collect();
        Self { certificates, origins, gates }
    }

    fn url(&self, origin: &str) -> String {
        self.origins[origin].url()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.certificates.folder().join(name)
    }

    /// The configuration, with what every edit begins from.
    fn config(&self, edits: &[Edit]) -> Value {
        let mut config = json!({
            "workers": 2,
            "listeners": [
                { "name": "web", "address": "127.0.0.1:0" },
                { "address": "127.0.0.1:0" },
                { "name": "secure", "address": "127.0.0.1:0", "tls": { "certificates": [{}] } },
                { "name": "moved", "address": "127.0.0.1:0" },
            ],
            "defaults": { "filters": ["", {}, {}] },
            "filters": { "named": {}, "other": { "wasm": self.file("nothing.wasm") } },
            "upstreams": {
                "named": {},
                "several": { "endpoints": ["", { "url": self.url("several2") }] },
            },
            "routes": [
                { "name": "unchanged", "match": { "prefix": "/unchanged" },
                  "upstream": { "url": self.url("unchanged") }, "pool": { "min_idle": 0, "keep_alive": true, "idle_timeout": "off" } },
                { "upstream": {}, "filters": ["", {}, {}] },
                { "name": "named", "match": { "prefix": "/named" }, "upstream": "named" },
                { "name": "inline", "match": {}, "upstream": { "endpoints": ["", {}] } },
                { "name": "several", "match": {} },
                { "name": "fixed", "match": { "prefix": "/fixed" }, "respond": {} },
                { "name": "moved", "match": { "prefix": "/moved" }, "redirect": {} },
                { "name": "secured", "match": { "prefix": "/secured" }, "redirect": {} },
            ],
        });
        // The first edit of each key has its old value; a section that may be off has its own by its keys.
        let mut known = BTreeSet::new();
        for edit in edits.iter().filter(|edit| !(edit.old.is_object() && edit.new == "off")) {
            if known.insert(&edit.pointer) {
                set(&mut config, &edit.pointer, &edit.old);
            }
        }
        config
    }
}

/// Puts a value where it belongs, sections around it included; null takes it out.
fn set(config: &mut Value, pointer: &str, value: &Value) {
    let (parent, last) = pointer.trim_start_matches('/').rsplit_once('/').unwrap_or(("", pointer));
    let mut place = config;
    for key in parent.split('/').filter(|key| !key.is_empty()) {
        place = match place {
            Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
            Value::Object(keys) => keys.entry(key).or_insert_with(|| Map::new().into()),
            other => panic!("{pointer}: {other} has no `{key}`"),
        };
    }
    let last = last.trim_start_matches('/');
    match place {
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value.clone(),
        Value::Object(keys) if value.is_null() => drop(keys.remove(last)),
        Value::Object(keys) => drop(keys.insert(last.to_owned(), value.clone())),
        other => panic!("{pointer}: {other} has no `{last}`"),
    }
}

#[tokio::test]
async fn the_table_has_every_key_of_the_schema() {
    let edited: BTreeSet<String> = edits(&Site::new()).into_iter().map(|edit| edit.key).collect();
    let elsewhere = ELSEWHERE.map(str::to_owned).into();
    assert_eq!(edited.intersection(&elsewhere).count(), 0);
    let covered: BTreeSet<String> = edited.union(&elsewhere).cloned().collect();
    let keys = schema::keys();
    let (missing, unknown): (Vec<_>, Vec<_>) =
        (keys.difference(&covered).collect(), covered.difference(&keys).collect());
    assert!(missing.is_empty() && unknown.is_empty(), "no edit of {missing:#?}; no key {unknown:#?}");
}

/// The known facts about the pools, by origin.
struct Ledger<'a> {
    site: &'a Site,
    pools: BTreeMap<&'static str, Value>,
    /// The number of connections that the origins of new pools had accepted before: those of other pools.
    others: BTreeMap<&'static str, usize>,
}

impl<'a> Ledger<'a> {
    async fn open(site: &'a Site, gateway: &Gateway) -> Self {
        Self { site, pools: pools(site, gateway).await, others: BTreeMap::new() }
    }

    /// Checks what became of each pool. `accepted` is what the origins had accepted before.
    async fn check(&mut self, gateway: &Gateway, expected: Pools, accepted: &BTreeMap<&'static str, usize>) {
        let now = pools(self.site, gateway).await;
        if expected != Pools::Others {
            assert!(now.keys().eq(self.pools.keys()), "{:?} became {:?}", self.pools.keys(), now.keys());
        }
        for (origin, pool) in &now {
            let owner = owner_of(pool["pool"].as_str().unwrap());
            let Some(before) = self.pools.get(origin).filter(|_| expected != Pools::New(owner)) else {
                self.others.insert(*origin, accepted[origin]);
                continue;
            };
            for count in ["acquired", "reused", "opened"] {
                assert!(number(pool, count) >= number(before, count), "{count}: {before:#}\nbecame {pool:#}");
            }
            if !matches!(expected, Pools::Emptied(owners) if owners.contains(&owner)) {
                assert_eq!(before["closed"], pool["closed"], "{before:#}\nbecame {pool:#}");
            }
            if *origin == "unchanged" {
                assert_eq!(before["opened"], pool["opened"], "{before:#}\nbecame {pool:#}");
            }
        }
        let are_known =
            |now: &BTreeMap<&str, Value>| now.iter().all(|(origin, pool)| self.is_the_one(origin, pool));
        if !are_known(&now) {
            let known = async || are_known(&pools(self.site, gateway).await);
            wait_until("each pool to have opened its origin's connections", known).await;
        }
        self.pools = now;
    }

    /// Returns true if a pool is the expected one: it has opened all the connections of its origin, or none of those that the
    /// origin had before; and no others are left.
    fn is_the_one(&self, origin: &str, pool: &Value) -> bool {
        let (opened, origin_has) = (number(pool, "opened") as usize, &self.site.origins[origin]);
        let open: u64 = ["idle", "active", "connecting"].iter().map(|state| number(pool, state)).sum();
        let is_it = match self.others.get(origin) {
            None => opened == origin_has.accepted(),
            Some(others) => opened <= origin_has.accepted() - others,
        };
        opened > 0 && is_it && origin_has.open() == open as usize
    }

    fn accepted(&self) -> BTreeMap<&'static str, usize> {
        self.site.origins.iter().map(|(name, origin)| (*name, origin.accepted())).collect()
    }
}

fn owner_of(pool: &str) -> &'static str {
    ORIGINS.into_iter().find(|origin| *origin == pool).unwrap_or("renamed")
}

/// The pools in use, by origin.
async fn pools(site: &Site, gateway: &Gateway) -> BTreeMap<&'static str, Value> {
    let pools = gateway.pools().await.into_iter().filter(|pool| pool["draining"] == false);
    let at = |pool: &Value| {
        let of = |origin: &Origin| Some(origin.url().as_str()) == pool["endpoint"].as_str();
        *site.origins.iter().find(|(_, origin)| of(origin)).unwrap().0
    };
    pools.map(|pool| (at(&pool), pool)).collect()
}

#[tokio::test]
async fn an_edit_of_any_key_fails_no_request_and_renews_only_the_pools_that_had_to_change() {
    let site = Site::new();
    let edits = edits(&site);
    let mut config = site.config(&edits);
    let gateway = crate::gateway(config.to_string()).start().await;
    let h2 = site.certificates.client_config(&["h2"]);
    let clients = [
        ("h1", Connection::http1(gateway.addr("web")).await),
        ("h2", Connection::http2(gateway.addr("web")).await),
        ("h1 of edited", Connection::http1(gateway.addr("edited")).await),
        ("h2 by TLS", Connection::http2_tls(gateway.addr("secure"), &h2).await),
    ];
    let count = clients.len();
    let mut load = Load::start(&PATHS, clients);
    for gate in &site.gates {
        gate.arrivals(count).await;
        gate.release_all();
    }
    let mut answers = load.answers().await;
    let mut ledger = Ledger::open(&site, &gateway).await;
    assert_eq!(number(&ledger.pools["unchanged"], "opened"), count as u64);
    for (generation, edit) in (2..).zip(&edits) {
        let Edit { key, pointer, old, new, .. } = edit;
        println!("{key}: {old} to {new}");
        assert_eq!(config.pointer(pointer).unwrap_or(&Value::Null), old, "{key}");
        set(&mut config, pointer, new);
        let accepted = ledger.accepted();
        let shown = load.across(&mut answers, async {
            reload(&gateway, &config, generation).await;
        });
        let shown = shown.await;
        let expected = match edit.shows {
            Shows::Nobody => BTreeSet::new(),
            Shows::Everybody => load.everybody(),
            Shows::Only(clients) => clients.iter().copied().collect(),
        };
        assert_eq!(shown, expected, "who sees {key}");
        ledger.check(&gateway, edit.pools, &accepted).await;
    }
    // Only the listener whose address changed has listened again.
    let lines = gateway.stdout_lines();
    let listening = lines.iter().filter_map(|line| line.strip_prefix("listening on ")?.split_once(" ("));
    let names: Vec<&str> = listening.map(|(_, name)| name.trim_end_matches(')')).collect();
    assert_eq!(names, ["web", "edited", "secure", "moved", "moved"]);
}

#[tokio::test]
async fn the_number_of_workers_cannot_change_and_the_admin_listener_may_come_and_go() {
    let origin = Origin::respond(|request| told("origin", request));
    let mut config = json!({
        "workers": 2,
        "listeners": [{ "name": "web", "address": "127.0.0.1:0" }],
        "admin": { "address": "127.0.0.1:0" },
        "telemetry": { "access_log": "off" },
        "routes": [{ "name": "all", "upstream": { "url": origin.url() } }],
    });
    let gateway = crate::gateway(config.to_string()).start().await;
    let clients = [("h1", Connection::http1(gateway.addr("web")).await)];
    let mut load = Load::start(&["/"], clients);
    let mut answers = load.answers().await;

    for (workers, status) in [(json!(3), 422), (json!(2), 200)] {
        config["workers"] = workers;
        gateway.rewrite_config(&config.to_string());
        let asked = async { assert_eq!(ask_for_reload(&gateway).await.status, status) };
        assert!(load.across(&mut answers, asked).await.is_empty());
    }
    let admin = config["admin"].take();
    config["admin"] = json!("off");
    gateway.rewrite_config(&config.to_string());
    // `POST /reload` still gets its answer.
    assert_eq!(ask_for_reload(&gateway).await.status, 200);
    config["admin"] = admin;
    let before = gateway.admin_addr();
    gateway.rewrite_config(&config.to_string());
    gateway.signal(Signal::HUP);
    let again = async { wait_until("the admin listener", async || gateway.admin_addr() != before).await };
    assert!(load.across(&mut answers, again).await.is_empty());
    assert_eq!(gateway.generation().await, 3);
    assert_eq!((origin.accepted(), number(&gateway.pool("all").await, "opened")), (1, 1));
}
