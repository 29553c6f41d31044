//! `gateway filter new`: creates a first filter.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::{Args, ValueEnum};

use super::refuse;
use crate::cli::output;

/// Files by their paths. Their texts call the filter `NAME`.
type Files = [(&'static str, &'static str)];

/// The files of `plugins/template` that every new filter has.
const COMMON: &Files = &[
    (".cargo/config.toml", include_str!("../../../plugins/template/.cargo/config.toml")),
    (".gitignore", include_str!("../../../plugins/template/.gitignore")),
    ("Cargo.toml", include_str!("../../../plugins/template/Cargo.toml")),
    ("clippy.toml", include_str!("../../../plugins/template/clippy.toml")),
];

/// The files of `plugins/template` for a filter that reads bodies.
const OF_BODIES: &Files = &[
    ("README.md", include_str!("../../../plugins/template/README.md")),
    ("gateway.yaml", include_str!("../../../plugins/template/gateway.yaml")),
    ("src/lib.rs", include_str!("../../../plugins/template/src/lib.rs")),
    ("src/word.rs", include_str!("../../../plugins/template/src/word.rs")),
];

/// The files of `plugins/template-heads`, for a filter that only reads heads.
const OF_HEADS: &Files = &[
    ("README.md", include_str!("../../../plugins/template-heads/README.md")),
    ("gateway.yaml", include_str!("../../../plugins/template-heads/gateway.yaml")),
    ("src/field.rs", include_str!("../../../plugins/template-heads/src/field.rs")),
    ("src/lib.rs", include_str!("../../../plugins/template-heads/src/lib.rs")),
];

/// The longest name, which is also the limit for names of filters in a configuration.
const NAME_LENGTH_MAX: usize = 64;

/// Names that cargo, rustc or the filter's own dependencies reserve.
const TAKEN: [&str; 62] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "log",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proxy-wasm",
    "pub",
    "ref",
    "return",
    "serde",
    "serde-json",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
];

/// The new filter and its folder.
#[derive(Debug, Clone, Args)]
pub(super) struct NewArgs {
    /// The name of the filter and of its folder: lower-case letters, digits, `-` and `_`
    name: String,

    /// The parent of that folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,

    /// The messages that the filter reads or changes: with their bodies, or only heads
    #[arg(long, value_enum, value_name = "on|off", default_value_t)]
    bodies: Bodies,
}

/// The kinds of new filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Bodies {
    /// The filter reads or changes bodies
    #[default]
    On,
    /// The filter only reads or changes heads: its configuration has `bodies: off`, so that bodies pass unchanged
    Off,
}

impl Bodies {
    /// Returns the files of a filter of this kind.
    fn template(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let own = match self {
            Self::On => OF_BODIES,
            Self::Off => OF_HEADS,
        };
        COMMON.iter().chain(own)
    }
}

/// Creates the folder, and prints the next steps.
pub(super) fn run(args: &NewArgs) -> ExitCode {
    if let Err(error) = check_name(&args.name) {
        return refuse(&error);
    }
    let folder = if args.path == Path::new(".") { (&args.name).into() } else { args.path.join(&args.name) };
    if let Err(error) = make(&folder, &args.name, args.bodies) {
        return refuse(&error);
    }
    let shown = folder.display();
    output::print_to_end(&format!(
        "{shown} has a filter, its test and a configuration. To build and run it:

    rustup target add wasm32-wasip1
    cd {shown} && cargo build --release --target wasm32-wasip1
    gateway --config gateway.yaml

Its README.md has the next steps: change it while the gateway runs, and try it without a gateway by `gateway filter run`.\n"
    ))
}

fn check_name(name: &str) -> Result<(), String> {
    let is_inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins_well || !name.bytes().all(is_inner) || name.len() > NAME_LENGTH_MAX {
        return Err(format!(
            "`{}` is not a name for a filter: write a lower-case letter and then lower-case letters, digits, `-` and `_`, \
             {NAME_LENGTH_MAX} at most",
            name.escape_debug()
        ));
    }
    if TAKEN.contains(&&*name.replace('_', "-")) {
        return Err(format!("a crate cannot be called `{name}`: choose another name"));
    }
    Ok(())
}

fn make(folder: &Path, name: &str, bodies: Bodies) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} exists already; nothing was changed", path.display()),
        _ => format!("cannot create {}: {error}", path.display()),
    };
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
    }
    // `create_dir` fails if the folder exists, so no existing file is overwritten.
    fs::create_dir(folder).map_err(|error| failed(folder, error))?;
    for (path, text) in bodies.template() {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        fs::write(&path, named(text, name)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Returns the template's text for a filter of this name. Cargo replaces each `-` by `_` in the name of the module.
fn named(text: &str, name: &str) -> String {
    text.replace("NAME.wasm", &format!("{}.wasm", name.replace('-', "_"))).replace("NAME", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the files in a folder by their paths, without build output.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                "target" | "Cargo.lock" => {}
                _ if path.is_dir() => found.extend(files(&path)),
                _ => found.push(path),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_new_filter_is_the_template_with_its_name() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/template");
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("not/there/yet/my-filter");
        make(&folder, "my-filter", Bodies::On).unwrap();
        let expected = files(&template);
        let relative = |files: &[PathBuf], folder: &Path| -> Vec<PathBuf> {
            files.iter().map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect()
        };
        assert_eq!(relative(&files(&folder), &folder), relative(&expected, &template));
        for path in expected {
            let written = fs::read_to_string(folder.join(path.strip_prefix(&template).unwrap())).unwrap();
            let mut original = fs::read_to_string(&path).unwrap();
            original = original.replace("NAME.wasm", "my_filter.wasm").replace("NAME", "my-filter");
            assert_eq!(written, original, "{}", path.display());
            assert!(!written.contains("NAME"), "{}", path.display());
        }
        let yaml = fs::read_to_string(folder.join("gateway.yaml")).unwrap();
        assert!(yaml.contains("release/my_filter.wasm") && yaml.contains("filters: [my-filter]"), "{yaml}");
    }

    #[test]
    fn new_filter_of_heads_is_its_template_and_leaves_bodies_alone() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/template-heads");
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("my-filter");
        make(&folder, "my-filter", Bodies::Off).unwrap();
        for path in files(&own) {
            let relative = path.strip_prefix(&own).unwrap();
            let original = fs::read_to_string(&path).unwrap();
            let original = original.replace("NAME.wasm", "my_filter.wasm").replace("NAME", "my-filter");
            assert_eq!(fs::read_to_string(folder.join(relative)).unwrap(), original, "{}", path.display());
        }
        assert_eq!(files(&folder).len(), files(&own).len() + COMMON.len());
        let yaml = fs::read_to_string(folder.join("gateway.yaml")).unwrap();
        assert!(yaml.contains("release/my_filter.wasm") && yaml.contains("bodies: off"), "{yaml}");
        let code = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        assert!(!code.contains("_body("), "a callback that is never called: {code}");
    }

    #[test]
    fn readme_of_a_new_filter_calls_no_upstream_by_the_name_of_the_filter() {
        for (path, text) in Bodies::On.template().chain(Bodies::Off.template()) {
            let text = named(text, "my-filter");
            assert!(!text.contains("my-filter=") && !text.contains("upstream `my-filter`"), "{path}: {text}");
        }
    }

    #[test]
    fn new_filter_leaves_an_existing_folder_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("mine");
        fs::create_dir(&folder).unwrap();
        let error = make(&folder, "mine", Bodies::On).unwrap_err();
        assert!(error.contains("exists already"), "{error}");
        assert!(files(&folder).is_empty());
    }

    #[test]
    fn a_name_is_one_that_cargo_and_the_gateway_take() {
        for good in ["a", "my-filter", "my_filter2", "hello"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(NAME_LENGTH_MAX + 1);
        for bad in ["", "1a", "-a", "A", "a b", "a.b", "a/b", "..", "ä", "match", "serde_json", "test", &long]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
