//! The blocks of Envoy, Traefik and Kong: Envoy loads its own where it is installed, and no key is one that they do not have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_yaml::Value as Yaml;
use support::run_to_exit;
use support::serde_json::{Value, json};

use super::page::{self, Block};

/// Keys of Traefik 3 that the page uses, from the reference of its static and dynamic configuration.
const TRAEFIK: &[&str] = &[
    "accessLog",
    "address",
    "attempts",
    "buffering",
    "caFiles",
    "certFile",
    "certificates",
    "clientAuth",
    "clientAuthType",
    "customRequestHeaders",
    "customResponseHeaders",
    "dialTimeout",
    "entryPoint",
    "entryPoints",
    "filePath",
    "format",
    "forwardedHeaders",
    "forwardingTimeouts",
    "graceTimeOut",
    "headers",
    "http",
    "idleConnTimeout",
    "idleTimeout",
    "initialInterval",
    "keyFile",
    "lifeCycle",
    "loadBalancer",
    "maxBodySize",
    "maxIdleConnsPerHost",
    "maxRequestBodyBytes",
    "metrics",
    "middlewares",
    "minVersion",
    "mirroring",
    "mirrors",
    "name",
    "options",
    "passHostHeader",
    "path",
    "percent",
    "permanent",
    "prefix",
    "addPrefix",
    "prefixes",
    "prometheus",
    "proxyProtocol",
    "readTimeout",
    "redirectScheme",
    "regex",
    "replacePath",
    "replacePathRegex",
    "replacement",
    "requestAcceptGraceTimeout",
    "respondingTimeouts",
    "responseHeaderTimeout",
    "retry",
    "rootCAs",
    "routers",
    "rule",
    "scheme",
    "serverName",
    "servers",
    "serversTransport",
    "serversTransports",
    "service",
    "services",
    "stripPrefix",
    "tls",
    "transport",
    "trustedIPs",
    "url",
    "weight",
    "weighted",
    "writeTimeout",
];

/// Mappings of Traefik whose keys are names of the user's.
const TRAEFIK_NAMED: &[&str] = &[
    "customRequestHeaders",
    "customResponseHeaders",
    "entryPoints",
    "middlewares",
    "options",
    "routers",
    "serversTransports",
    "services",
];

/// Keys of Kong 3 in a declarative configuration that the page uses, those of plugins among them.
const KONG: &[&str] = &[
    "_format_version",
    "add",
    "allowed_payload_size",
    "config",
    "connect_timeout",
    "filter_chains",
    "filters",
    "headers",
    "host",
    "hosts",
    "methods",
    "name",
    "path",
    "paths",
    "plugins",
    "preserve_host",
    "read_timeout",
    "remove",
    "replace",
    "retries",
    "routes",
    "services",
    "size_unit",
    "strip_path",
    "target",
    "targets",
    "upstreams",
    "uri",
    "url",
    "weight",
    "write_timeout",
];

/// Keys of kong.conf that the page uses.
const KONG_CONF: &[&str] = &[
    "proxy_listen",
    "real_ip_header",
    "real_ip_recursive",
    "trusted_ips",
    "upstream_keepalive_idle_timeout",
    "upstream_keepalive_max_requests",
    "upstream_keepalive_pool_size",
];

fn blocks_of(product: &str) -> Vec<Block> {
    let blocks: Vec<_> = page::blocks().into_iter().filter(|block| block.product == product).collect();
    assert!(!blocks.is_empty(), "no block of {product}");
    blocks
}

fn parsed<T: for<'de> serde::Deserialize<'de>>(block: &Block) -> T {
    serde_yaml::from_str(&block.text).unwrap_or_else(|error| panic!("line {}: {error}", block.line))
}

/// Adds the keys of all mappings below `value` whose keys are not names of the user's.
fn keys(value: &Yaml, named: &[&str], found: &mut BTreeSet<String>) {
    match value {
        Yaml::Sequence(items) => items.iter().for_each(|item| keys(item, named, found)),
        Yaml::Mapping(entries) => {
            for (key, below) in entries {
                let key = key.as_str().expect("a key is a text").to_owned();
                match below {
                    Yaml::Mapping(chosen) if named.contains(&key.as_str()) => {
                        chosen.values().for_each(|value| keys(value, named, found));
                    }
                    below => keys(below, named, found),
                }
                found.insert(key);
            }
        }
        _ => {}
    }
}

fn unknown(block: &Block, known: &[&str], named: &[&str]) -> Vec<String> {
    let mut found = BTreeSet::new();
    keys(&parsed(block), named, &mut found);
    found.into_iter().filter(|key| !known.contains(&key.as_str())).collect()
}

#[test]
fn traefik_blocks_have_only_keys_of_traefik() {
    for block in blocks_of("traefik") {
        let unknown = unknown(&block, TRAEFIK, TRAEFIK_NAMED);
        assert!(unknown.is_empty(), "line {}: {unknown:?}", block.line);
    }
}

#[test]
fn kong_blocks_have_only_keys_of_kong() {
    for block in blocks_of("kong") {
        if block.language == "ini" {
            for line in block.text.lines() {
                let (key, value) = line.split_once(" = ").expect("KEY = VALUE");
                assert!(KONG_CONF.contains(&key) && !value.is_empty(), "line {}: {line}", block.line);
            }
        } else {
            // Names of fields that a route matches are the user's.
            let unknown = unknown(&block, KONG, &["headers"]);
            assert!(unknown.is_empty(), "line {}: {unknown:?}", block.line);
            assert!(block.text.starts_with("_format_version: \"3.0\"\n"), "line {}", block.line);
        }
    }
}

#[test]
fn envoy_blocks_are_parts_of_a_whole_configuration() {
    for block in blocks_of("envoy") {
        let whole = whole_envoy(&block);
        let listener = &whole["static_resources"]["listeners"][0];
        assert!(
            listener["filter_chains"][0]["filters"][0]["typed_config"].is_object(),
            "line {}",
            block.line
        );
        // Whatever a route names is there.
        for name in named_clusters(&whole) {
            let clusters = whole["static_resources"]["clusters"].as_array().unwrap();
            assert!(clusters.iter().any(|cluster| cluster["name"] == name), "line {}: {name}", block.line);
        }
    }
}

/// Needs Envoy, which `scripts/peers.sh` fetches where it can; elsewhere the test above is all there is. In CI it has to be
/// there on x86-64, for which there is a wheel.
#[tokio::test]
async fn every_envoy_block_loads_in_envoy_where_it_is_installed() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/envoy");
    if !program.exists() {
        let is_required =
            std::env::var_os("CI").is_some() && cfg!(all(target_os = "linux", target_arch = "x86_64"));
        assert!(!is_required, "Envoy is missing: bash scripts/peers.sh");
        eprintln!(
            "NOT TESTED: the blocks of Envoy in Envoy, which is missing; bash scripts/peers.sh fetches it"
        );
        return;
    }
    let folder = page::folder();
    for block in blocks_of("envoy") {
        let file = folder.path().join("envoy.json");
        // Envoy reads paths from its own folder.
        let text = whole_envoy(&block).to_string();
        let here = folder.path().display();
        let text = text.replace("\"certs/", &format!("\"{here}/certs/"));
        fs::write(&file, text.replace("\"plugins/", &format!("\"{here}/plugins/"))).unwrap();
        let arguments = ["--mode", "validate", "-l", "warning", "-c", file.to_str().unwrap()];
        let output = run_to_exit(&program, &arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let clean = output.status.success() && !stderr.contains("deprecated");
        assert!(clean, "line {}\n{stderr}{}", block.line, String::from_utf8_lossy(&output.stdout));
    }
}

/// A configuration of Envoy around a block. `clusters` are the clusters, `listener_filters` and `filter_chains` belong to the
/// listener, `virtual_hosts` to the routes, and the other keys to the HTTP connection manager.
fn whole_envoy(block: &Block) -> Value {
    let mut part: Value = parsed(block);
    let part = part.as_object_mut().unwrap();
    let mut clusters = part.remove("clusters").unwrap_or_else(|| json!([{ "name": "app" }]));
    for cluster in clusters.as_array_mut().unwrap() {
        let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 3000 } });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
        let assignment = json!({ "cluster_name": cluster["name"], "endpoints": endpoints });
        let cluster = cluster.as_object_mut().unwrap();
        cluster.entry("load_assignment").or_insert(assignment);
    }
    let mut listener = json!({
        "name": "web",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 8080 } },
        "filter_chains": [{}],
    });
    for key in ["listener_filters", "filter_chains"] {
        if let Some(value) = part.remove(key) {
            listener[key] = value;
        }
    }
    let extensions = "type.googleapis.com/envoy.extensions.filters";
    let router = json!({ "@type": format!("{extensions}.http.router.v3.Router") });
    let mut manager = json!({
        "@type": format!("{extensions}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "web",
        "route_config": { "virtual_hosts": part.remove("virtual_hosts").unwrap_or_else(|| json!([])) },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": router }],
    });
    manager.as_object_mut().unwrap().append(part);
    let name = "envoy.filters.network.http_connection_manager";
    listener["filter_chains"][0]["filters"] = json!([{ "name": name, "typed_config": manager }]);
    json!({ "static_resources": { "listeners": [listener], "clusters": clusters } })
}

fn named_clusters(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(named_clusters).collect(),
        Value::Object(entries) => {
            let own = entries.get("cluster").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(entries.values().flat_map(named_clusters)).collect()
        }
        _ => Vec::new(),
    }
}
