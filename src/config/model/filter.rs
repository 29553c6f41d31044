//! `filters`: plugins that requests and responses go through.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::segment::Segment;
use crate::config::{Config, Route};
use crate::path;

/// A plugin: a WebAssembly module for the Proxy-Wasm ABI, and its settings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// The module's file, relative to the folder of the configuration file. It is read again when it changes.
    pub(crate) wasm: PathBuf,
    /// The plugin's own configuration, passed to it as JSON; a text is passed as it is. Default: nothing.
    #[serde(default, skip_serializing_if = "FilterConfig::is_none")]
    pub(crate) config: FilterConfig,
    /// Limits on the plugin's resources.
    #[serde(default)]
    pub(crate) limits: FilterLimits,
    /// The fate of a message when the plugin fails: it traps, exceeds a time limit, or cannot be started.
    #[serde(default)]
    pub(crate) on_error: OnError,
    /// The requests that share an instance of the plugin.
    #[serde(default)]
    pub(crate) isolation: Isolation,
    /// The decoding of bodies before they reach the plugin.
    #[serde(default)]
    pub(crate) decode: Decode,
    /// The parts of a message that still reach the plugin while it holds back the head.
    #[serde(default)]
    pub(crate) on_headers_pause: OnHeadersPause,
    /// Selects whether bodies go through the plugin.
    #[serde(default)]
    pub(crate) bodies: Bodies,
    /// Selects whether local responses, which plugins send in place of an upstream's, go through the plugin's response
    /// callbacks.
    #[serde(default)]
    pub(crate) local_responses: LocalResponses,
    /// Environment variables, the only ones that the plugin sees. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "propertyNames" = { "pattern": "^[^=\\u0000]+$" },
        "additionalProperties" = { "type": "string", "pattern": "^[^\\u0000]*$" },
    ))]
    pub(crate) env: BTreeMap<String, String>,
    /// The group with which the plugin shares data and queues: all plugins with the same `vm_id`. Default: the filter's
    /// name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) vm_id: Option<String>,
    /// Name of the root context that the plugin creates, as its code registers it: the property `plugin_root_id`.
    /// Modules that register their contexts by name, such as those in AssemblyScript and some in C++, start only with
    /// one of their names. All others ignore it. Default: empty, the name under which C++ modules register without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) root_id: String,
}

/// The configuration of a plugin: any YAML value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct FilterConfig(serde_json::Value);

impl FilterConfig {
    fn is_none(&self) -> bool {
        self.0.is_null()
    }

    /// Returns what the plugin receives: nothing without a configuration, a text as it is, and anything else as JSON
    /// without spaces, with its keys in the order of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.0 {
            serde_json::Value::Null => Vec::new(),
            serde_json::Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        }
    }
}

impl JsonSchema for FilterConfig {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FilterConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

/// Limits of a plugin; none of them can be `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterLimits {
    /// Linear memory of one instance, from 64KiB to 4GiB. A plugin that requests more gets none.
    #[schemars(extend("pattern" = ByteSize::pattern(Self::MEMORY_MIN.bytes(), Self::MEMORY_MAX.bytes())))]
    pub(crate) memory: ByteSize,
    /// CPU time of one call into the plugin. Beyond it, the plugin has failed.
    pub(crate) time: Duration,
    /// CPU time of a start of the plugin: all of its calls until it is configured, in which it builds its tables.
    /// Beyond it, the plugin cannot be used. A start delays the other requests of its worker.
    pub(crate) start: Duration,
    /// Bytes of a body that are held back while the plugin pauses. Beyond it, 413 for a request and 500 for a response.
    pub(crate) body: ByteSize,
    /// The time for which the plugin may hold back a message. Beyond it, the plugin has failed.
    pub(crate) pause: Duration,
    /// Bytes of the shared data and queues under its `vm_id`.
    pub(crate) shared_data: ByteSize,
    /// Bytes that the plugin produces for one exchange and the gateway holds at one time: bodies, fields, calls, a
    /// local response, properties, and what one callback shares. Beyond it, the exchange ends with 500. Default: the
    /// value of `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<ByteSize>,
}

impl FilterLimits {
    /// The least memory of an instance: one page.
    pub(crate) const MEMORY_MIN: ByteSize = ByteSize::from_bytes(64 << 10);

    /// The most memory of an instance: all that 32 bits can address.
    pub(crate) const MEMORY_MAX: ByteSize = ByteSize::from_bytes(4 << 30);
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            memory: ByteSize::from_bytes(32 << 20),
            time: Duration::from_millis(50),
            // Go firewalls with their rules take 0.4 to 0.7 seconds. No other known plugin takes a tenth of that.
            start: Duration::from_secs(1),
            body: ByteSize::from_bytes(1 << 20),
            pause: Duration::from_secs(30),
            shared_data: ByteSize::from_bytes(1 << 20),
            output: None,
        }
    }
}

/// The fate of a message when its plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// The client gets 500, or a response that has begun is cut off.
    #[default]
    Closed,
    /// The message continues as if the plugin were not there.
    Open,
}

/// The requests that share an instance of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// All requests of a worker, one after the other or at the same time.
    #[default]
    Worker,
    /// None: each request has a fresh instance.
    Request,
}

/// The decoding of bodies before they reach a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decode {
    /// Bodies arrive without gzip, deflate, br and zstd.
    #[default]
    Auto,
    /// Bodies arrive as they were sent.
    Off,
}

/// The parts of a message that still reach a plugin while it holds back the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnHeadersPause {
    /// Nothing, until the plugin continues.
    #[default]
    StopAll,
    /// The body, while the head waits.
    ContinueBody,
}

/// The choice whether bodies go through a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bodies {
    /// Bodies go through the plugin, if the module has callbacks for them.
    #[default]
    On,
    /// Bodies pass unchanged, with their length: the plugin's callbacks for bodies and trailers are never called.
    Off,
}

/// The choice whether local responses go through a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LocalResponses {
    /// Local responses go through the plugin as any response does, if their request went through it before.
    #[default]
    On,
    /// Local responses pass unchanged, the plugin's own included.
    Off,
}

/// A filter of a route.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum FilterUse {
    /// The name of one of `filters`.
    Named(String),
    /// One of `filters`, with a configuration for this list alone.
    Use {
        /// The name of one of `filters`.
        #[serde(rename = "use")]
        filter: String,
        /// The configuration that replaces the `config` written there; `null` for none. Default: the one written there.
        #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "FilterConfig")]
        config: Option<FilterConfig>,
    },
    /// A filter written here, which takes its name from its file: `shout` for `plugins/shout.wasm`.
    Inline(Box<Filter>),
}

/// Returns the value as written, even `null`. A key that is left out never gets here.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FilterConfig>, D::Error> {
    FilterConfig::deserialize(deserializer).map(Some)
}

impl FilterUse {
    /// Returns the name, if this is one of `filters`.
    pub(crate) fn named(&self) -> Option<&str> {
        match self {
            Self::Named(name) | Self::Use { filter: name, .. } => Some(name),
            Self::Inline(_) => None,
        }
    }

    /// Returns the name in logs and metrics.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Named(name) | Self::Use { filter: name, .. } => name.into(),
            Self::Inline(filter) => filter.stem(),
        }
    }
}

impl Filter {
    /// Returns the name of a filter without one: its file's name without the extension.
    pub(crate) fn stem(&self) -> Cow<'_, str> {
        self.wasm.file_stem().unwrap_or_default().to_string_lossy()
    }

    /// Returns a filter that is in no configuration file. `keys` is a YAML mapping of its other keys, as in [`Filter`].
    /// `config` is JSON, or a text that is passed as it is.
    pub(crate) fn alone(
        wasm: &Path,
        config: Option<&str>,
        keys: Option<&str>,
    ) -> Result<FilterSettings, String> {
        let mut mapping = serde_json::Map::new();
        if let Some(keys) = keys {
            mapping = serde_yaml::from_str(keys).map_err(|error| error.to_string())?;
        }
        if let Some(key) = ["wasm", "config"].into_iter().find(|key| mapping.contains_key(*key)) {
            return Err(format!("`{key}` is given elsewhere"));
        }
        mapping.insert("wasm".to_owned(), wasm.to_string_lossy().into());
        let mut filter: Self = serde_json::from_value(mapping.into()).map_err(|error| error.to_string())?;
        filter.wasm = wasm.to_owned();
        let json = config.map(|text| {
            serde_json::from_str(text)
                .unwrap_or_else(|_| FilterConfig(serde_json::Value::String(text.to_owned())))
        });
        Ok(filter.settings(&filter.stem(), &json.unwrap_or_default()))
    }

    /// Returns the settings of the filter under a name.
    pub(crate) fn settings(&self, name: &str, config: &FilterConfig) -> FilterSettings {
        let limits = &self.limits;
        FilterSettings {
            name: name.to_owned(),
            wasm: self.wasm.clone(),
            config: config.bytes(),
            memory_bytes_max: limits.memory.length(),
            time: limits.time.into(),
            start: limits.start.into(),
            body_bytes_max: limits.body.length(),
            pause: limits.pause.into(),
            shared_data_bytes_max: limits.shared_data.length(),
            // A plugin usually holds in its own memory what it produces at one time.
            output_bytes_max: limits.output.unwrap_or(limits.memory).length(),
            on_error: self.on_error,
            isolation: self.isolation,
            decode: self.decode == Decode::Auto,
            bodies: self.bodies == Bodies::On,
            on_headers_pause: self.on_headers_pause,
            local_responses: self.local_responses == LocalResponses::On,
            env: self.env.clone(),
            vm_id: self.vm_id.clone().unwrap_or_else(|| name.to_owned()),
            root_id: self.root_id.clone(),
        }
    }
}

/// A filter of a route with all of its settings. Filters with equal settings can share one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FilterSettings {
    /// The name in logs, metrics and errors.
    pub(crate) name: String,
    /// The module's file.
    pub(crate) wasm: PathBuf,
    /// The plugin's configuration; empty for none.
    pub(crate) config: Vec<u8>,
    /// Linear memory of an instance.
    pub(crate) memory_bytes_max: usize,
    /// CPU time of one call.
    pub(crate) time: time::Duration,
    /// CPU time of a start.
    pub(crate) start: time::Duration,
    /// Bytes of a body that are held back.
    pub(crate) body_bytes_max: usize,
    /// The time for which a message may be held back.
    pub(crate) pause: time::Duration,
    /// Bytes of shared data and queues under the `vm_id`.
    pub(crate) shared_data_bytes_max: usize,
    /// Bytes that the plugin produces for one exchange.
    pub(crate) output_bytes_max: usize,
    /// The fate of a message when the plugin fails.
    pub(crate) on_error: OnError,
    /// The requests that share an instance.
    pub(crate) isolation: Isolation,
    /// True if bodies arrive without their content coding.
    pub(crate) decode: bool,
    /// True if bodies and trailers reach the plugin.
    pub(crate) bodies: bool,
    /// The parts of a message that still arrive while the plugin holds back the head.
    pub(crate) on_headers_pause: OnHeadersPause,
    /// True if local responses go through the plugin.
    pub(crate) local_responses: bool,
    /// All environment variables.
    pub(crate) env: BTreeMap<String, String>,
    /// The group with which the plugin shares data and queues.
    pub(crate) vm_id: String,
    /// The name of its root context; empty for none.
    pub(crate) root_id: String,
}

impl Config {
    /// Returns the filters of the route at `index`, in the order in which requests go through them. Each comes with the
    /// place at which errors in its module are reported.
    pub(crate) fn filters_of(&self, index: usize, route: &Route) -> Vec<(FilterSettings, Vec<Segment>)> {
        let list = match &route.filters {
            Some(_) => path!["routes", index, "filters"].to_vec(),
            None => path!["defaults", "filters"].to_vec(),
        };
        let uses = self.filters_written(route).iter().enumerate();
        uses.filter_map(|(position, one)| {
            if let FilterUse::Inline(filter) = one {
                let place = [&list[..], &path![position, "wasm"]].concat();
                return Some((filter.settings(&filter.stem(), &filter.config), place));
            }
            // A validated configuration has every filter that a route names.
            let (name, filter) = self.filters.get_key_value(one.named()?)?;
            let config = match one {
                FilterUse::Use { config: Some(config), .. } => config,
                _ => &filter.config,
            };
            Some((filter.settings(name, config), path!["filters", name, "wasm"].to_vec()))
        })
        .collect()
    }

    /// Returns the filter list of a route: its own, or that of `defaults`.
    pub(crate) fn filters_written<'a>(&'a self, route: &'a Route) -> &'a [FilterUse] {
        route.filters.as_ref().or(self.defaults.filters.as_ref()).map_or(&[], Vec::as_slice)
    }

    /// Returns the module files of the filters that are written in the list of a route or of `defaults`.
    pub(crate) fn inline_modules<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = &'a Path> {
        self.filters_written(route).iter().filter_map(|one| match one {
            FilterUse::Inline(filter) => Some(&*filter.wasm),
            _ => None,
        })
    }
}
