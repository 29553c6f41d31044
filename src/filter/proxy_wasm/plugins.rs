//! Construction of plugins from the configuration's filters: only new ones are compiled and tried.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use super::plugin::{LinkedModule, Plugin};
use super::services::Services;
use super::trial::{try_out, whole_mebibytes};
use crate::config::load::files::{FileMark, Files};
use crate::config::{ByteSize, FilterSettings, Isolation, Wasm, WasmCache};
use crate::filter::engine::cache::{CodeCache, default_folder};
use crate::filter::engine::module::{LoadError, validate};
use crate::filter::engine::runtime::Allocation;
use crate::filter::proxy_wasm::module::{ModuleError, link};

/// The reason why a plugin cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("cannot read the module `{path}`: {reason}")]
    Unreadable { path: String, reason: String, advice: Option<&'static str> },
    #[error("the module is larger than `wasm.module_bytes`, {max}: {advice}")]
    TooLarge { max: ByteSize, advice: String },
    #[error("the module cannot be used: {0}")]
    Module(String),
    #[error("the module cannot be used: {0}")]
    Compiler(String),
    #[error("the plugin does not start: {0}")]
    Start(String),
}

impl PluginError {
    /// Returns what the operator can do, if the message does not already state it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        if let Self::Unreadable { advice, .. } = self { *advice } else { None }
    }

    /// Returns true if the plugin's file is not to blame: the compiler was killed or could not run.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Compiler(_))
    }
}

/// The builder of one configuration's plugins.
pub(crate) struct Plugins<'a> {
    services: &'a Arc<Services>,
    files: &'a Files,
    previous: &'a [Arc<Plugin>],
    cache: Option<CodeCache>,
    /// The largest file of a module.
    module_bytes: ByteSize,
    modules: HashMap<(FileMark, Allocation), Result<Arc<LinkedModule>, PluginError>>,
    made: Vec<Arc<Plugin>>,
}

impl<'a> Plugins<'a> {
    /// Creates a builder that reuses unchanged plugins of `previous`.
    pub(crate) fn new(
        services: &'a Arc<Services>,
        files: &'a Files,
        previous: &'a [Arc<Plugin>],
        wasm: &Wasm,
    ) -> Self {
        let (cache, module_bytes) = (open(&wasm.cache), wasm.module_bytes);
        Self { services, files, previous, cache, module_bytes, modules: HashMap::new(), made: Vec::new() }
    }

    /// Returns the plugin for these settings.
    pub(crate) fn make(&mut self, settings: FilterSettings) -> Result<Arc<Plugin>, PluginError> {
        let mark = self.files.mark_within(&settings.wasm, self.module_bytes.bytes());
        let known =
            self.made.iter().chain(self.previous).find(|plugin| plugin.is_of(&settings, mark)).cloned();
        let plugin = match known {
            Some(plugin) => plugin,
            None => {
                let module = self.module(&settings, mark)?;
                let plugin = Plugin::new(settings, mark, module, self.services);
                try_out(&plugin).map_err(PluginError::Start)?;
                plugin
            }
        };
        if !self.made.iter().any(|made| Arc::ptr_eq(made, &plugin)) {
            self.made.push(plugin.clone());
        }
        Ok(plugin)
    }

    /// Checks a filter that no route uses: its file must exist and be a module. It is not compiled.
    pub(crate) fn examine(&self, settings: &FilterSettings) -> Result<(), PluginError> {
        let wasm = self.files.read_within(&settings.wasm, self.module_bytes.bytes());
        let wasm = wasm.map_err(|error| self.unreadable(&settings.wasm, &error))?;
        validate(&wasm, &self.services.engines).map_err(|error| PluginError::Module(error.to_string()))
    }

    /// Returns true if no plugin was built.
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Returns all plugins that were built.
    pub(crate) fn into_made(self) -> Vec<Arc<Plugin>> {
        self.made
    }

    /// Returns the compiled module, which all plugins of the same file share.
    fn module(
        &mut self,
        settings: &FilterSettings,
        mark: FileMark,
    ) -> Result<Arc<LinkedModule>, PluginError> {
        let allocation = match settings.isolation {
            Isolation::Worker => Allocation::OnDemand,
            Isolation::Request => Allocation::Pooled,
        };
        let same =
            |plugin: &&Arc<Plugin>| plugin.mark() == mark && plugin.settings.isolation == settings.isolation;
        if let Some(plugin) = self.previous.iter().find(same) {
            return Ok(plugin.module.clone());
        }
        if let Some(module) = self.modules.get(&(mark, allocation)) {
            return module.clone();
        }
        let wasm = self.files.read_within(&settings.wasm, self.module_bytes.bytes());
        let wasm = wasm.map_err(|error| self.unreadable(&settings.wasm, &error))?;
        let module = link(&wasm, allocation, &self.services.engines, self.cache.as_ref());
        let module = module.map_err(|error: ModuleError| match error {
            ModuleError::Load(LoadError::Compiler(_)) => PluginError::Compiler(error.to_string()),
            error => PluginError::Module(error.to_string()),
        });
        self.modules.insert((mark, allocation), module.clone());
        module
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> PluginError {
        if error.kind() != io::ErrorKind::FileTooLarge {
            let (reason, advice) = match error.kind() {
                io::ErrorKind::NotFound => {
                    ("there is no such file".to_owned(), Some(missing_module_advice(path)))
                }
                _ => (error.to_string(), None),
            };
            return PluginError::Unreadable { path: path.display().to_string(), reason, advice };
        }
        let advice = match fs::metadata(path).map(|metadata| metadata.len()) {
            Ok(bytes) if bytes > self.module_bytes.bytes() => {
                format!("it has {bytes} bytes; write `wasm: {{ module_bytes: {} }}`", whole_mebibytes(bytes))
            }
            _ => "raise the limit".to_owned(),
        };
        PluginError::TooLarge { max: self.module_bytes, advice }
    }
}

/// Returns advice for a module that does not exist. Cargo has a folder for each target, so the path shows whether Cargo
/// builds the file.
fn missing_module_advice(path: &Path) -> &'static str {
    if path.components().any(|part| part.as_os_str() == "wasm32-wasip1") {
        "build it: `cargo build --release --target wasm32-wasip1` in the folder of the filter's source"
    } else {
        "build the filter, or correct the path; a relative one begins at the folder of this file"
    }
}

/// Opens the cache of compiled code. Without it only the next start takes longer.
pub(super) fn open(cache: &WasmCache) -> Option<CodeCache> {
    let (folder, is_asked_for) = match cache {
        WasmCache::Off => return None,
        WasmCache::Auto => (default_folder()?, false),
        WasmCache::Folder(folder) => (folder.clone(), true),
    };
    match CodeCache::open(&folder) {
        Ok(cache) => Some(cache),
        Err(error) if is_asked_for => {
            tracing::warn!(folder = %folder.display(), "compiled filters are not kept: {error}");
            None
        }
        Err(error) => {
            tracing::debug!(folder = %folder.display(), "compiled filters are not kept: {error}");
            None
        }
    }
}
