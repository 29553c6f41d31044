//! Reads which file of the crate imports which, from `use` items and paths, through re-exports. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The files of a crate, by their path in `src`, and what each imports.
pub(super) struct Sources {
    texts: BTreeMap<String, String>,
    imports: BTreeMap<String, BTreeSet<String>>,
}

/// A module by its path in the crate: `["http", "h1"]`.
type Module = Vec<String>;

/// Re-exports: a name in a module, and the name in another module that it stands for.
type ReExports = BTreeMap<(Module, String), (Module, String)>;

impl Sources {
    pub(super) fn read(folder: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(folder, folder, &mut texts);
        let modules: BTreeMap<Module, String> =
            texts.keys().map(|file| (module_of(file), file.clone())).collect();
        let re_exports = re_exports(&texts, &modules);
        let imports = texts.iter().map(|(file, text)| {
            let mut used: BTreeSet<String> = paths_in(&module_of(file), &without_tests(text))
                .iter()
                .filter_map(|path| resolve(path, &modules, &re_exports))
                .collect();
            used.remove(file);
            // Its macros and its map are no import.
            used.remove("lib.rs");
            (file.clone(), used)
        });
        let imports = imports.filter(|(file, _)| file != "main.rs" && file != "lib.rs").collect();
        Self { texts, imports }
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(file, text)| (&**file, &**text))
    }

    pub(super) fn imports(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.imports
    }
}

fn collect(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            texts.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The lines of a file that are no comment.
pub(super) fn without_comments(text: &str) -> String {
    let code = |line: &str| line.find("//").map_or(line, |at| &line[..at]).to_owned();
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

/// A file's code up to its inline tests, which stand at its end.
fn without_tests(text: &str) -> String {
    let code = without_comments(text);
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..end].to_owned()
}

/// The absolute paths that a file names, in `use` items and elsewhere.
fn paths_in(module: &Module, code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for item in code.split("use ").skip(1) {
        let Some((tree, _)) = item.split_once(';') else { continue };
        expand(tree.trim(), &[], &mut paths);
    }
    // The scope of a visibility is no import.
    let code = without_uses(code).replace("pub(in crate::", "pub(in ");
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let is_inside = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !is_inside {
                let path: String =
                    code[at..].chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                paths.push(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
            }
        }
    }
    paths.iter().filter_map(|path| absolute(module, path)).collect()
}

/// Code without its `use` items.
fn without_uses(code: &str) -> String {
    let mut parts = code.split("use ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + part.split_once(';').map_or(part, |(_, rest)| rest))
}

/// The paths of a `use` tree.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Module>) {
    let tree = tree.trim();
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, rest)| (head, Some(rest)));
    let head = head.split(" as ").next().unwrap();
    let mut path = prefix.to_vec();
    path.extend(head.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
    let Some(group) = group else { return paths.push(path) };
    let (mut depth, mut begin) = (0, 0);
    let group = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&group[begin..at], &path, paths);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !group[begin..].trim().is_empty() {
        expand(&group[begin..], &path, paths);
    }
}

fn absolute(module: &Module, path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module.as_slice(), rest].concat()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            let kept = module.len().checked_sub(up)?;
            Some([&module[..kept], &path[up..]].concat())
        }
        _ => None,
    }
}

/// The file that a path leads to, through re-exports.
fn resolve(path: &Module, modules: &BTreeMap<Module, String>, re_exports: &ReExports) -> Option<String> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (mut module, mut name) = (path[..length].to_vec(), path.get(length).cloned().unwrap_or_default());
    for _ in 0..8 {
        let Some((next, renamed)) = re_exports.get(&(module.clone(), name.clone())) else { break };
        (module, name) = (next.clone(), renamed.clone());
    }
    modules.get(&module).cloned()
}

/// `pub use` items, by module and name.
fn re_exports(texts: &BTreeMap<String, String>, modules: &BTreeMap<Module, String>) -> ReExports {
    let mut found = BTreeMap::new();
    for (file, text) in texts {
        let (module, code) = (module_of(file), without_tests(text));
        for item in code.split("use ").skip(1) {
            let before = &code[..item.as_ptr() as usize - code.as_ptr() as usize - "use ".len()];
            let Some((tree, _)) = item.split_once(';') else { continue };
            if !before.trim_end().ends_with(')') && !before.trim_end().ends_with("pub") {
                continue;
            }
            let mut paths = Vec::new();
            expand(tree.trim(), &[], &mut paths);
            for path in paths {
                // A path of a re-export that begins with no keyword begins with a child.
                let target =
                    absolute(&module, &path).unwrap_or_else(|| [module.clone(), path.clone()].concat());
                let length = (0..target.len()).rev().find(|length| modules.contains_key(&target[..*length]));
                let Some(length) = length.filter(|length| target[..*length] != module[..]) else { continue };
                let name = target[target.len() - 1].clone();
                found.insert((module.clone(), name.clone()), (target[..length].to_vec(), name));
            }
        }
    }
    found
}
