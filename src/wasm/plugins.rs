//! From the configuration's filters to plugins: only what is new is compiled and tried out.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::{CodeCache, default_folder};
use super::engine::Allocation;
use super::module::{LinkedModule, ModuleError, link};
use super::plugin::Plugin;
use super::services::Services;
use crate::config::{FilterSettings, Isolation, WasmCache};
use crate::files::{FileMark, Files};

/// Why a plugin cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("cannot read the module: {0}")]
    Unreadable(String),
    #[error("the module cannot be used: {0}")]
    Module(String),
    #[error("the plugin does not start: {0}")]
    Start(String),
}

/// Makes the plugins of one configuration.
pub(crate) struct Plugins<'a> {
    services: &'a Arc<Services>,
    files: &'a Files,
    previous: &'a [Arc<Plugin>],
    cache: Option<CodeCache>,
    modules: HashMap<(FileMark, Allocation), Result<Arc<LinkedModule>, PluginError>>,
    made: Vec<Arc<Plugin>>,
}

impl<'a> Plugins<'a> {
    /// Those of `previous` that are the same go on.
    pub(crate) fn new(
        services: &'a Arc<Services>,
        files: &'a Files,
        previous: &'a [Arc<Plugin>],
        cache: &WasmCache,
    ) -> Self {
        Self { services, files, previous, cache: open(cache), modules: HashMap::new(), made: Vec::new() }
    }

    /// The plugin of these settings.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn make(&mut self, settings: FilterSettings) -> Result<Arc<Plugin>, PluginError> {
        let mark = self.files.mark(&settings.wasm);
        let known =
            self.made.iter().chain(self.previous).find(|plugin| plugin.is_of(&settings, mark)).cloned();
        let plugin = match known {
            Some(plugin) => plugin,
            None => {
                let module = self.module(&settings, mark)?;
                let plugin = Plugin::new(settings, mark, module, self.services);
                plugin.try_out().map_err(PluginError::Start)?;
                plugin
            }
        };
        if !self.made.iter().any(|made| Arc::ptr_eq(made, &plugin)) {
            self.made.push(plugin.clone());
        }
        Ok(plugin)
    }

    /// Whether none was made.
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// All that were made.
    pub(crate) fn into_made(self) -> Vec<Arc<Plugin>> {
        self.made
    }

    /// The compiled module: one for all plugins of the same file.
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
        let wasm =
            self.files.read(&settings.wasm).map_err(|error| PluginError::Unreadable(error.to_string()))?;
        let module = link(&wasm, allocation, &self.services.engines, self.cache.as_ref());
        let module = module.map_err(|error: ModuleError| PluginError::Module(error.to_string()));
        self.modules.insert((mark, allocation), module.clone());
        module
    }
}

/// The cache of compiled code. Without one the next start takes longer, and that is all.
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
