//! `wasm`: settings for all plugins.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::text::{Malformed, text_type};

/// Settings for all plugins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wasm {
    /// The folder that keeps compiled modules from one start to the next, relative to the folder of the configuration
    /// file; `auto` for `$CACHE_DIRECTORY`, which systemd sets, else `$XDG_CACHE_HOME/gateway`, else
    /// `$HOME/.cache/gateway`, else none; `off` for none. Its contents are run as code: no other user may be permitted
    /// to write there.
    pub(crate) cache: WasmCache,
    /// Largest file of a module. Compiling one takes many times its size in memory, and a second of CPU time per
    /// megabyte.
    pub(crate) module_bytes: ByteSize,
}

impl Default for Wasm {
    fn default() -> Self {
        // Twice the size of the largest known plugins: Go firewalls with their rules, of 25 MiB.
        Self { cache: WasmCache::default(), module_bytes: ByteSize::from_bytes(64 << 20) }
    }
}

/// The folder for compiled modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum WasmCache {
    /// The cache folder of the system.
    #[default]
    Auto,
    /// No folder.
    Off,
    /// This folder.
    Folder(PathBuf),
}

text_type!(WasmCache, format: "wasm-cache", pattern: "^[\\s\\S]");

impl FromStr for WasmCache {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "" => Err(Malformed::new("the folder has no name").help("write `auto`, `off` or a path")),
            path => Ok(Self::Folder(path.into())),
        }
    }
}

impl fmt::Display for WasmCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}
