//! Every key of the configuration, an edit of it, and what it means for the pools.

use support::serde_json::{Value, json};

use super::Site;

/// The effect on the pools. Those that the edit does not concern must stay as they are, whatever this is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pools {
    /// All are the same, with their connections and counts.
    Same,
    /// All are the same; those of these routes and upstreams close their connections.
    Emptied(&'static [&'static str]),
    /// Those of this route or upstream are new, under the same URLs.
    New(&'static str),
    /// Endpoints come or go; those that stay keep their pools.
    Others,
}

/// Which clients are answered otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shows {
    Nobody,
    Everybody,
    Only(&'static [&'static str]),
}

/// One edit of one key.
pub(crate) struct Edit {
    /// As the schema has it.
    pub(crate) key: String,
    /// Where it is in the configuration.
    pub(crate) pointer: String,
    /// Absent where they are null.
    pub(crate) old: Value,
    pub(crate) new: Value,
    pub(crate) pools: Pools,
    /// Which clients of the load see it.
    pub(crate) shows: Shows,
}

/// An edit of `key` of a section that is written at `at`.
fn edit(key: impl Into<String>, at: &str, old: impl Into<Value>, new: impl Into<Value>) -> Edit {
    let key = key.into();
    let sections = ["listeners[]", "routes[]", "upstreams.NAME"];
    let below = sections.iter().find_map(|section| key.strip_prefix(section)).unwrap_or(&key);
    let below = below.replace("certificates[]", "certificates.0").replace("endpoints[].", "endpoints.1.");
    let path = format!("{at}.{}", below.replace("endpoints[]", "endpoints.0").trim_start_matches('.'));
    place(key, path.trim_start_matches('.'), old, new)
}

/// An edit of a key of a section that is written as a whole, as it has no effect, or is wrong, without other keys.
fn section(at: &str, key: &str, old: Value, new: Value) -> Edit {
    place(format!("{at}.{key}"), at, old, new)
}

/// An edit of `key` at `path`.
pub(super) fn place(key: String, path: &str, old: impl Into<Value>, new: impl Into<Value>) -> Edit {
    let pointer = format!("/{}", path.replace('.', "/"));
    Edit { key, pointer, old: old.into(), new: new.into(), pools: Pools::Same, shows: Shows::Nobody }
}

impl Edit {
    fn pools(self, pools: Pools) -> Self {
        Self { pools, ..self }
    }

    fn shows_only(self, clients: &'static [&'static str]) -> Self {
        Self { shows: Shows::Only(clients), ..self }
    }

    fn shows(self) -> Self {
        Self { shows: Shows::Everybody, ..self }
    }
}

/// All edits, in an order in which each can be done after the others.
pub(crate) fn edits(site: &Site) -> Vec<Edit> {
    let mut edits = whole();
    edits.extend(super::auth::edits(site));
    edits.extend(listeners(site));
    edits.extend(routes());
    edits.extend(filter(site, "filters.NAME", "filters.named"));
    for (list, at) in [("routes[].filters[]", "routes.1.filters"), ("defaults.filters[]", "defaults.filters")]
    {
        edits.extend(filter_uses(list, at));
        edits.extend(filter(site, list, &format!("{at}.2")));
    }
    edits.extend(route("routes[]", "routes.1"));
    edits.extend(route("defaults", ""));
    for (upstream, at, owner) in
        [("routes[].upstream", "routes.1", "own"), ("upstreams.NAME", "upstreams.named", "named")]
    {
        edits.extend(pool(&format!("{upstream}.pool"), at));
        edits.extend(timeouts(&format!("{upstream}.timeouts"), at));
        let (several, at_several) = match owner {
            "own" => ("inline", "routes.3"),
            _ => ("several", "upstreams.several"),
        };
        edits.extend(active_health(upstream, at));
        edits.extend([
            edit(format!("{upstream}.balance"), at, "p2c", "round_robin"),
            edit(format!("{upstream}.breaker.failure_percent"), at, 50, 60),
            edit(format!("{upstream}.breaker.within"), at, "10s", "11s"),
            edit(format!("{upstream}.breaker.min_requests"), at, 20, 21),
            edit(format!("{upstream}.breaker.open_for"), at, "5s", "6s"),
            edit(
                format!("{upstream}.breaker"),
                at,
                json!({ "failure_percent": 60, "within": "11s", "min_requests": 21, "open_for": "6s" }),
                "off",
            ),
            edit(format!("{upstream}.health.panic_percent"), at, 50, 40),
            edit(format!("{upstream}.health.slow_start"), at, "10s", "off"),
            edit(format!("{upstream}.health.passive.failures"), at, 5, 6),
            edit(format!("{upstream}.health.passive.on"), at, json!(["connect"]), json!(["connect", 500])),
            edit(format!("{upstream}.health.passive.eject_for"), at, "30s", "31s"),
            edit(format!("{upstream}.health.passive.max_eject"), at, "300s", "301s"),
            edit(format!("{upstream}.health.passive.max_ejected_percent"), at, 10, 11),
            edit(format!("{upstream}.health.passive.success_rate.interval"), at, "10s", "11s"),
            edit(format!("{upstream}.health.passive.success_rate.min_requests"), at, 100, 101),
            edit(format!("{upstream}.health.passive.success_rate.min_endpoints"), at, 5, 6),
            edit(format!("{upstream}.health.passive.success_rate.deviations_percent"), at, 190, 191),
            edit(
                format!("{upstream}.health.passive.success_rate"),
                at,
                json!({ "interval": "11s", "min_requests": 101, "min_endpoints": 6, "deviations_percent": 191 }),
                "off",
            ),
            edit(
                format!("{upstream}.health.passive"),
                at,
                json!({
                    "failures": 6, "on": ["connect", 500], "eject_for": "31s", "max_eject": "301s",
                    "max_ejected_percent": 11, "success_rate": "off"
                }),
                "off",
            ),
            // The load shows no cookies.
            edit(format!("{upstream}.sticky.cookie"), at, "one", "other"),
            edit(format!("{upstream}.sticky.max_age"), at, "off", "1h"),
            edit(format!("{upstream}.sticky.secure"), at, false, true),
            edit(format!("{upstream}.sticky.same_site"), at, "lax", "strict"),
            edit(format!("{upstream}.resolve"), at, "auto", "31s"),
            edit(format!("{upstream}.max_concurrent"), at, "off", 1_000),
            // Its origin does not choose HTTP/2, but a new connection is needed to know.
            edit(format!("{upstream}.protocol"), at, "h1", "auto").pools(Pools::New(owner)),
            edit(format!("{upstream}.header_case"), at, "lower", "preserve")
                .shows_only(&["h1", "h1 of edited"]),
            edit(
                format!("{upstream}.endpoints[]"),
                at_several,
                site.url(several),
                json!({ "url": site.url(several) }),
            ),
            edit(format!("{upstream}.endpoints[].weight"), at_several, 1, 2),
        ]);
    }
    for (pool, at, whose) in [
        ("upstreams.NAME.pool", "upstreams.named", &["named"][..]),
        // Its route says otherwise.
        ("routes[].upstream.pool", "routes.1", &[]),
        ("routes[].pool", "routes.1", &["own"]),
        ("defaults.pool", "", &["inline", "several"]),
    ] {
        let key = format!("{pool}.keep_alive");
        edits.extend(
            [(true, false), (false, true)]
                .map(|(old, new)| edit(&*key, at, old, new).pools(Pools::Emptied(whose))),
        );
    }
    for (upstream, at, owner, other) in [
        ("routes[].upstream", "routes.1", "own", "other"),
        ("upstreams.NAME", "upstreams.named", "named", "other2"),
    ] {
        let new = |key: &str, old: Value, new: Value| {
            edit(format!("{upstream}.{key}"), at, old, new).pools(Pools::New(owner))
        };
        edits.extend([
            new("tls.sni", json!("localhost"), json!("other.test")),
            new("tls.ca", json!(site.file("ca.pem")), json!(site.file("ca-copy.pem"))),
            new("tls.client.cert", json!(site.file("client.pem")), json!(site.file("client-copy.pem"))),
            new("tls.client.key", json!(site.file("client.key")), json!(site.file("client-copy.key"))),
            new("tls.verify", json!(true), json!(false)),
            new("url", json!(site.url(owner)), json!(site.url(other))).pools(Pools::Others).shows(),
        ]);
    }
    edits.extend([
        edit("routes[].upstream.endpoints[].url", "routes.3", site.url("inline2"), site.url("inline3"))
            .pools(Pools::Others),
        edit(
            "upstreams.NAME.endpoints[].url",
            "upstreams.several",
            site.url("several2"),
            site.url("several3"),
        )
        .pools(Pools::Others),
        edit("routes[].upstream", "routes.4", "several", "named").pools(Pools::Others).shows(),
    ]);
    edits
}

/// The port takes no connection: there is one probe, which fails, and the next one is due in an hour.
fn active_health(upstream: &str, at: &str) -> Vec<Edit> {
    let mut after = json!({});
    let keys = [
        ("path", json!("/probe"), json!("/probe?2")),
        ("interval", json!("1h"), json!("2h")),
        ("timeout", json!("1s"), json!("2s")),
        ("unhealthy_after", json!(3), json!(4)),
        ("healthy_after", json!(2), json!(3)),
        ("start", json!("healthy"), json!("unhealthy")),
        ("port", json!(1), json!(2)),
        ("method", json!("GET"), json!("POST")),
        ("host", json!("a.test"), json!("b.test")),
        ("expect", json!([200]), json!([204, "300-399"])),
        ("body", json!("ok"), json!("fine")),
    ];
    let mut edits = Vec::new();
    for (key, old, new) in keys {
        after[key] = new.clone();
        edits.push(edit(format!("{upstream}.health.active.{key}"), at, old, new));
    }
    edits.push(edit(format!("{upstream}.health.active"), at, after, "off"));
    edits
}

fn whole() -> Vec<Edit> {
    vec![
        edit("trusted_proxies", "", json!([]), json!(["127.0.0.1"])).shows(),
        edit("telemetry.access_log.format", "", "json", "common"),
        edit("telemetry.access_log.format", "", "common", "text"),
        edit("telemetry.access_log.fields", "", json!(null), json!(["time", "status"])),
        edit("telemetry.access_log.only", "", json!(null), json!(["errors", "slow>1s"])),
        edit("telemetry.access_log.sample", "", json!(null), 0.5),
        edit("telemetry.access_log.mask.query", "", json!(null), json!(["token"])),
        edit("telemetry.access_log.mask.headers", "", json!(null), json!(["x-key"])),
        edit("telemetry.access_log.output", "", "access.log", "other.log"),
        section("telemetry.access_log.rotate", "size", json!(null), json!({ "size": "1MiB" })),
        section(
            "telemetry.access_log.rotate",
            "keep",
            json!({ "size": "1MiB" }),
            json!({ "size": "1MiB", "keep": 3 }),
        ),
        section("telemetry.access_log.rotate", "size", json!({ "size": "1MiB", "keep": 3 }), json!(null)),
        edit("telemetry.access_log.output", "", "other.log", "syslog+udp://127.0.0.1:9"),
        section("telemetry.access_log.syslog", "facility", json!(null), json!({ "facility": "local1" })),
        section(
            "telemetry.access_log.syslog",
            "severity",
            json!({ "facility": "local1" }),
            json!({ "facility": "local1", "severity": "notice" }),
        ),
        section(
            "telemetry.access_log.syslog",
            "app_name",
            json!({ "facility": "local1", "severity": "notice" }),
            json!({ "facility": "local1", "severity": "notice", "app_name": "other" }),
        ),
        edit(
            "telemetry.access_log",
            "",
            json!({
                "format": "text",
                "output": "syslog+udp://127.0.0.1:9",
                "fields": ["time", "status"],
                "only": ["errors", "slow>1s"],
                "sample": 0.5,
                "mask": { "query": ["token"], "headers": ["x-key"] },
                "syslog": { "facility": "local1", "severity": "notice", "app_name": "other" },
            }),
            "off",
        ),
        edit("shutdown.delay", "", "off", "1s"),
        edit("shutdown.drain", "", "30s", "31s"),
        edit("wasm.cache", "", "off", "compiled"),
        edit("dns.servers", "", json!(["127.0.0.1:5353"]), json!(["127.0.0.1:5354"])),
        edit("dns.search", "", json!(["a.internal"]), json!(["b.internal"])),
        edit("dns.ndots", "", 1, 2),
        edit("dns.timeout", "", "5s", "4s"),
        edit("retry.keep_body_total", "", "64MiB", "1MiB"),
        edit("wasm.module_bytes", "", "64MiB", "65MiB"),
        edit("shutdown.drain_removed_routes", "", false, true),
        edit("admin.open", "", json!([]), json!(["metrics"])),
        edit("admin.hosts", "", json!([]), json!(["admin.example.com"])),
        edit("admin.address", "", "127.0.0.1:0", "127.0.0.2:0"),
    ]
}

fn listeners(site: &Site) -> Vec<Edit> {
    let edited = "listeners.1";
    let of = |key: &str, old: Value, new: Value| edit(format!("listeners[].{key}"), edited, old, new);
    let tls =
        |key: &str, old: Value, new: Value| edit(format!("listeners[].tls.{key}"), "listeners.2", old, new);
    let mut edits: Vec<Edit> =
        ["tls_handshake", "request_header", "request_body", "response_write", "keep_alive"]
            .map(|key| of(&format!("timeouts.{key}"), json!("30s"), json!("31s")))
            .into();
    edits.extend([
        of("limits.connections", json!(100), json!(99)),
        of("limits.connections_per_client", json!("off"), json!(99)),
        of("limits.requests_per_connection", json!("off"), json!(1_000_000)),
        of("limits.headers", json!(100), json!(99)),
        of("limits.header_bytes", json!("32KiB"), json!("31KiB")),
        of("limits.target_bytes", json!("8KiB"), json!("7KiB")),
        of("http2.max_streams", json!(128), json!(100)),
        of("http2.stream_window", json!("2MiB"), json!("1MiB")),
        of("http2.connection_window", json!("8MiB"), json!("4MiB")),
        of("http2.header_table", json!("4KiB"), json!("8KiB")),
        of("limits.body", json!("off"), json!("1MiB")),
        of("headers.underscores", json!("pass"), json!("drop")),
        of("tcp_keepalive.idle", json!("1m"), json!("61s")),
        of("tcp_keepalive.interval", json!("10s"), json!("11s")),
        of("tcp_keepalive.probes", json!(6), json!(7)),
        of("tcp_keepalive", json!({ "idle": "61s", "interval": "11s", "probes": 7 }), json!("off")),
        of("name", json!("edited"), json!("renamed")),
        // Open connections go on as they began.
        of("protocols", json!(["h1", "h2"]), json!(["h1"])),
        of("proxy_protocol", json!("off"), json!("accept")),
        of("half_close", json!("abort"), json!("allow")),
        edit("listeners[].address", "listeners.3", "127.0.0.1:0", "127.0.0.2:0"),
        tls("certificates[].cert", json!(site.file("server.pem")), json!(site.file("server-copy.pem"))),
        tls("certificates[].key", json!(site.file("server.key")), json!(site.file("server-copy.key"))),
        tls("min_version", json!("1.2"), json!("1.3")),
        tls("client_auth.ca", json!(site.file("ca.pem")), json!(site.file("ca-copy.pem"))),
        tls("client_auth.crl", json!([]), json!([site.file("revoked.crl")])),
        tls("client_auth.required", json!(false), json!(true)),
    ]);
    edits
}

/// Keys that only routes have.
fn routes() -> Vec<Edit> {
    let of = |key: &str, at: usize, old: Value, new: Value| {
        edit(format!("routes[].{key}"), &format!("routes.{at}"), old, new)
    };
    vec![
        of("name", 1, json!("own"), json!("own (renamed)")),
        of("name", 1, json!("own (renamed)"), json!("own")),
        of("listeners", 5, json!(["web"]), Value::Null).shows_only(&["h1 of edited", "h2 by TLS"]),
        of("match.prefix", 1, json!("/own"), json!("/own/x")),
        of("match.template", 3, json!("/inline/{a}"), json!("/inline/{b}")),
        of("match.path", 4, json!("/several"), json!("/elsewhere")).shows(),
        of("match.path", 4, json!("/elsewhere"), json!("/several")).shows(),
        of("match.host", 1, json!("gateway.test"), json!("*.test")),
        of("match.methods", 1, json!(["GET"]), json!(["GET", "POST"])),
        of("match.headers", 1, json!({ "x-test": "present" }), json!({ "x-test": "1" })),
        of("match.query", 1, json!({ "q": "present" }), json!({ "q": "1" })),
        of("rewrite.strip_prefix", 1, json!("/own"), json!("/own/x")).shows(),
        of("rewrite.add_prefix", 1, json!("/v1"), json!("/v2")).shows(),
        of("rewrite.template", 3, json!("/v1"), json!("/v2")).shows(),
        of("rewrite.path", 4, json!("/v1"), json!("/v2")).shows(),
        of("respond.status", 5, json!(200), json!(201)).shows(),
        of("respond.headers", 5, json!({ "x-a": "1" }), json!({ "x-a": "2" })).shows(),
        of("respond.body", 5, json!("old"), json!("new")).shows(),
        of("respond.delay", 5, Value::Null, json!("1ms")),
        of("redirect.to", 6, json!("/old"), json!("/new")).shows(),
        of("redirect.status", 6, json!(308), json!(307)).shows(),
        of("redirect.scheme", 7, json!("https"), json!("http")).shows(),
        of("redirect.host", 7, Value::Null, json!("a.test")).shows(),
        of("redirect.port", 7, Value::Null, json!(81)).shows(),
    ]
}

/// Keys that routes and `defaults` have.
fn route(section: &str, at: &str) -> Vec<Edit> {
    let of = |key: &str, old: Value, new: Value| edit(format!("{section}.{key}"), at, old, new);
    let mut edits = vec![
        of("host", json!("upstream"), json!("preserve")).shows(),
        of("rewrite_location", json!("auto"), json!("off")),
        of("rewrite_cookies", json!("off"), json!("auto")),
        of("grpc_web", json!("off"), json!("on")),
        of("retry.attempts", json!(1), json!(2)),
        of("retry.on", json!(["connect", "stale"]), json!(["stale"])),
        of("retry.methods", json!(["GET", "PUT"]), json!(["GET"])),
        of("retry.budget.percent", json!(20), json!(21)),
        of("retry.budget.min", json!(10), json!(11)),
        of("retry.budget", json!({ "percent": 21, "min": 11 }), json!("off")),
        of("retry.backoff", json!("25ms"), json!("off")),
        of("retry.keep_body", json!("16KiB"), json!("1KiB")),
        of("hedge.after", json!("10m"), json!("9m")),
        of("hedge", json!({ "after": "9m" }), json!("off")),
        of("upgrade", json!(["websocket"]), json!([])),
        of("limits.body", json!("1MiB"), json!("2MiB")),
        of("paths.encoded_slash", json!("reject"), json!("keep")),
        of("allow", Value::Null, json!(["0.0.0.0/0", "::/0"])),
        of("deny", Value::Null, json!(["203.0.113.66"])),
        of("cors.origins", json!(["https://a.test"]), json!(["https://b.test"])),
        of("cors.methods", json!(["GET"]), json!(["GET", "PUT"])),
        of("cors.headers", json!(["x-a"]), json!(["x-b"])),
        of("cors.expose", json!(["x-a"]), json!(["x-b"])),
        of("cors.credentials", json!(false), json!(true)),
        of("cors.max_age", json!("1m"), json!("2m")),
        of("cors.private_network", json!(false), json!(true)),
        of(
            "cors",
            json!({ "origins": ["https://b.test"], "methods": ["GET", "PUT"], "headers": ["x-b"], "expose": ["x-b"], "credentials": true, "max_age": "2m", "private_network": true }),
            json!("off"),
        ),
        of("rate_limit.rate", json!("1000000/s"), json!("900000/s")),
        of("rate_limit.burst", json!(1_000_000), json!(2_000_000)),
        of("rate_limit.by", json!("client_ip"), json!("route")),
        of("rate_limit.queue", json!("1s"), json!("2s")),
        of(
            "rate_limit",
            json!({ "rate": "900000/s", "burst": 2_000_000, "by": "route", "queue": "2s" }),
            json!("off"),
        ),
        of("concurrent.limit", json!(10_000), json!(20_000)),
        of("concurrent.by", json!("client_ip"), json!("route")),
        of("concurrent", json!({ "limit": 20_000, "by": "route" }), json!("off")),
        of("headers.request.set", json!({ "x-set": "1" }), json!({ "x-set": "2" })).shows(),
        of("headers.request.add", json!({ "x-add": "1" }), json!({ "x-add": "2" })).shows(),
        of("headers.request.remove", json!([]), json!(["x-test"])).shows(),
        of("headers.response.set", json!({ "x-set": "1" }), json!({ "x-set": "2" })).shows(),
        of("headers.response.add", json!({ "x-add": "1" }), json!({ "x-add": "2" })).shows(),
        of("headers.response.remove", json!([]), json!(["x-origin"])).shows(),
    ];
    edits.extend(pool(&format!("{section}.pool"), at));
    edits.extend(timeouts(&format!("{section}.timeouts"), at));
    edits
}

/// The ways in which a list names a filter: its first item is a name, its second has `use`.
fn filter_uses(list: &str, at: &str) -> Vec<Edit> {
    vec![
        place(list.to_owned(), &format!("{at}.0"), "named", "other"),
        place(format!("{list}.use"), &format!("{at}.1.use"), "named", "other"),
        place(format!("{list}.config"), &format!("{at}.1.config"), json!({ "a": 1 }), json!({ "a": 2 })),
    ]
}

/// Returns the edits of a filter's keys. The plugin does nothing, so they have no visible effect.
fn filter(site: &Site, section: &str, at: &str) -> Vec<Edit> {
    let of = |key: &str, old: Value, new: Value| {
        place(format!("{section}.{key}"), &format!("{at}.{key}"), old, new)
    };
    vec![
        of("wasm", json!(site.file("nothing.wasm")), json!(site.file("nothing-copy.wasm"))),
        of("config", json!({ "a": [1, null] }), json!("text")),
        of("limits.memory", json!("32MiB"), json!("16MiB")),
        of("limits.time", json!("1s"), json!("2s")),
        of("limits.start", json!("2s"), json!("3s")),
        of("limits.body", json!("1MiB"), json!("2MiB")),
        of("limits.pause", json!("30s"), json!("31s")),
        of("limits.shared_data", json!("1MiB"), json!("2MiB")),
        of("limits.output", json!("32MiB"), json!("64MiB")),
        of("on_error", json!("closed"), json!("open")),
        of("isolation", json!("worker"), json!("request")),
        of("decode", json!("auto"), json!("off")),
        of("on_headers_pause", json!("stop_all"), json!("continue_body")),
        of("bodies", json!("on"), json!("off")),
        of("local_responses", json!("on"), json!("off")),
        of("env", json!({}), json!({ "LEVEL": "info" })),
        of("vm_id", json!("one"), json!("two")),
        of("root_id", json!("auth"), json!("audit")),
    ]
}

/// All but `keep_alive`.
fn pool(section: &str, at: &str) -> Vec<Edit> {
    let of = |key: &str, old: Value, new: Value| edit(format!("{section}.{key}"), at, old, new);
    vec![
        of("max_connections", json!(256), json!(255)),
        of("max_idle", json!(64), json!(63)),
        of("idle_timeout", json!("30m"), json!("31m")),
        of("max_lifetime", json!("10m"), json!("off")),
        of("tcp_keepalive.idle", json!("1m"), json!("61s")),
        of("tcp_keepalive.interval", json!("10s"), json!("11s")),
        of("tcp_keepalive.probes", json!(6), json!(7)),
        of("tcp_keepalive", json!({ "idle": "61s", "interval": "11s", "probes": 7 }), json!("off")),
        of("max_requests", json!("off"), json!(1_000_000)),
        of("max_pending", json!(1024), json!(1023)),
        of("acquire_timeout", json!("2s"), json!("3s")),
        of("max_connecting", json!(16), json!(15)),
        of("min_idle", json!(1), json!(0)),
        of("max_streams", json!(100), json!(99)),
        of("ping_interval", json!("off"), json!("1m")),
        of("reuse", json!("always"), json!("safe")),
    ]
}

fn timeouts(section: &str, at: &str) -> Vec<Edit> {
    let of = |key: &str, old: Value, new: Value| edit(format!("{section}.{key}"), at, old, new);
    vec![
        of("connect", json!("3s"), json!("4s")),
        of("response_header", json!("15s"), json!("16s")),
        of("idle", json!("1m"), json!("2m")),
        of("request", json!("off"), json!("1m")),
        of("per_try", json!("off"), json!("15s")),
    ]
}
