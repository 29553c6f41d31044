//! The floors of the house (ARCHITECTURE.md, "Dependency rules"), held against the code.

mod imports;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use imports::{Sources, without_comments};

/// The rooms from the ground up. A room imports from the floors below it, and from the rooms to its left on its own floor.
const FLOORS: [&[&str]; 8] = [
    &["config", "observe"],
    &["net"],
    &["http"],
    &["router", "policy", "upstream", "filter"],
    &["snapshot"],
    &["proxy"],
    &["downstream", "worker"],
    &["control", "cli", "testing"],
];

/// Files that import one another in a circle, by the first of them, each with the reason why it stays.
const CIRCLES: [(&str, usize, &str); 4] = [
    (
        "config/model/config.rs",
        3,
        "routes inherit from the whole file, and the file has routes and filters: the keys' types name one another",
    ),
    (
        "filter/proxy_wasm/host/mod.rs",
        2,
        "the data of an instance is its host, which has the plugin, and a plugin has its module, linked for such data",
    ),
    (
        "upstream/addresses.rs",
        2,
        "an attempt connects to one of several addresses, and connecting to each of them is an attempt of its own",
    ),
    (
        "upstream/pool/commands.rs",
        11,
        "a slot, a place or a lease goes back to its pool when it is dropped; the pool hands out what holds them: idle \
         connections, shared ones and those that are dialled for several requests, and commands other workers to give or lend theirs",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The room of a file: `http/h1/head.rs` to `http`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The place of a room: its floor, and its position on that floor.
fn place(file: &str) -> (usize, usize) {
    let found = FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, rooms)| Some((floor, rooms.iter().position(|name| *name == room(file))?)));
    found.unwrap_or_else(|| panic!("`{}` is on no floor", room(file)))
}

#[test]
fn imports_run_down_the_floors() {
    let sources = Sources::read(&root().join("src"));
    let mut wrong = Vec::new();
    for (file, used) in sources.imports() {
        for used in used.iter().filter(|used| room(used) != room(file)) {
            if place(used) > place(file) {
                wrong.push(format!("{file} imports {used}, which is above it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_imports_the_control_plane() {
    let sources = Sources::read(&root().join("src"));
    for (file, used) in sources.imports() {
        let is_allowed = matches!(room(file), "control" | "cli" | "testing");
        let control = used.iter().find(|used| room(used) == "control");
        assert!(is_allowed || control.is_none(), "{file} imports {control:?}");
    }
}

#[test]
fn the_filter_engine_knows_no_abi() {
    let sources = Sources::read(&root().join("src"));
    for (file, used) in sources.imports().iter().filter(|(file, _)| file.starts_with("filter/engine/")) {
        let abi = used.iter().find(|used| used.starts_with("filter/proxy_wasm/"));
        assert!(abi.is_none(), "{file} imports {abi:?}");
    }
}

#[test]
fn a_reload_knows_no_paths() {
    let sources = Sources::read(&root().join("src"));
    for (file, text) in sources.texts().filter(|(file, _)| file.starts_with("control/reload/")) {
        assert!(!without_comments(text).contains("Path"), "{file} names a path: that belongs to a provider");
    }
}

#[test]
fn only_the_transports_know_http_1() {
    let sources = Sources::read(&root().join("src"));
    let dispatches = |file: &str| file == "upstream/transport/mod.rs";
    for (file, used) in
        sources.imports().iter().filter(|(file, _)| !file.starts_with("upstream/transport/h1/"))
    {
        let h1 = used.iter().find(|used| used.starts_with("upstream/transport/h1/"));
        assert!(dispatches(file) || h1.is_none(), "{file} imports {h1:?}");
        let codec = used.iter().find(|used| used.starts_with("http/h1/"));
        let upstream = room(file) == "upstream";
        assert!(!upstream || codec.is_none(), "{file} imports {codec:?}");
    }
}

#[test]
fn import_circles_have_a_reason() {
    let sources = Sources::read(&root().join("src"));
    let found: BTreeMap<String, BTreeSet<String>> = circles(sources.imports())
        .into_iter()
        .map(|circle| (circle.first().unwrap().clone(), circle))
        .collect();
    for (first, circle) in &found {
        let known = CIRCLES.iter().find(|(known, ..)| known == first);
        let (_, size, reason) = known.unwrap_or_else(|| panic!("a new circle of files: {circle:#?}"));
        assert_eq!(circle.len(), *size, "{reason}\nare now these files: {circle:#?}");
    }
    for (first, ..) in CIRCLES {
        assert!(found.contains_key(first), "{first} begins no circle any more: take it off the list");
    }
}

/// The sets of files that reach one another by imports.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach = |start: &String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(file) = next.pop() {
            for used in imports.get(&file).into_iter().flatten() {
                if reached.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reach(file))).collect();
    let circle = |(file, reached_from): (&&String, &BTreeSet<String>)| {
        let back = |other: &&String| reached.get(other).is_some_and(|from| from.contains(*file));
        reached_from.contains(*file).then(|| reached_from.iter().filter(back).cloned().collect())
    };
    let all: BTreeSet<BTreeSet<String>> = reached.iter().filter_map(circle).collect();
    all.into_iter().collect()
}

#[test]
fn foreign_types_stay_where_they_belong() {
    for (foreign, homes) in [
        ("serde_yaml", &["config/"][..]),
        ("saphyr_parser", &["config/"]),
        ("httparse", &["http/h1/"]),
        ("hickory_resolver", &["control/upstreams/"]),
        (
            "hyper::",
            &[
                "downstream/h2/",
                "control/admin/",
                "control/auth/",
                "control/traces/",
                "control/upstreams/health/",
            ],
        ),
        ("opentelemetry_proto", &["control/traces/"]),
        ("jsonwebtoken", &["policy/auth/jwt/"]),
        ("::redis::", &["control/stores/"]),
        ("notify::", &["control/providers/file/"]),
        ("wasmtime::", &["filter/engine/", "filter/proxy_wasm/"]),
        ("anyhow", &["main.rs"]),
    ] {
        for (file, text) in Sources::read(&root().join("src")).texts() {
            let is_at_home = homes.iter().any(|home| file.starts_with(home));
            assert!(is_at_home || !without_comments(text).contains(foreign), "{file} names {foreign}");
        }
    }
}

#[test]
fn the_architecture_page_has_every_room() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for rooms in FLOORS {
        for room in rooms {
            assert!(page.contains(&format!("`{room}/`")), "ARCHITECTURE.md does not have `{room}/`");
        }
    }
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "main.rs" && name != "lib.rs" {
            place(&name);
        }
    }
}
