//! Who uses whom, held against the table in ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The row of each module in the table of layers.
fn layers() -> BTreeMap<String, usize> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = page.split("<!-- layers -->").nth(1).unwrap().split("<!-- /layers -->").next().unwrap();
    let mut layers = BTreeMap::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, row, modules, _] = cells[..] else { continue };
        let Ok(row) = row.parse() else { continue };
        layers.extend(modules.split(", ").map(|module| (module.to_owned(), row)));
    }
    layers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What tests use says nothing of the program.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that a file belongs to: `src/http1/head.rs` to `http1`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of the crate that a file names, outside of comments: `crate::a::b`, or `crate::{a::b, c}`.
fn used_by(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut used = Vec::new();
    for path in code.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            None => used.push(first_word(path)),
            Some(group) => used.extend(group_items(group).iter().map(|item| first_word(item))),
        }
    }
    used
}

fn first_word(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The items of a use group, up to its closing brace.
fn group_items(group: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().unwrap().push(c);
            }
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

#[test]
fn modules_use_only_those_below_them() {
    let layers = layers();
    let mut wrong = Vec::new();
    for file in sources(&root().join("src")) {
        let module = module_of(&file);
        let row = layers.get(&module).unwrap_or_else(|| panic!("`{module}` is not in the table of layers"));
        for used in used_by(&fs::read_to_string(&file).unwrap()) {
            let Some(used_row) = layers.get(&used) else {
                // Macros are named from the crate's root.
                assert_eq!(used, "path", "{} uses `{used}`, which is not in the table", file.display());
                continue;
            };
            if used_row < row {
                wrong.push(format!("{} uses `{used}`, which is above it", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn foreign_types_stay_where_they_belong() {
    for (foreign, homes) in [
        ("serde_yaml", &["config"][..]),
        ("saphyr_parser", &["config"]),
        ("httparse", &["http1"]),
        ("hyper::", &["connection", "admin"]),
        ("notify::", &["watch"]),
        ("anyhow", &["main"]),
    ] {
        for file in sources(&root().join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let named = text.lines().any(|line| {
                let code = line.trim_start();
                !code.starts_with("//") && code.contains(foreign)
            });
            let module = module_of(&file);
            assert!(!named || homes.contains(&module.as_str()), "{} names {foreign}", file.display());
        }
    }
}
