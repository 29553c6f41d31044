//! `filters`: plugins that requests and responses go through.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::values::segment::Segment;
use crate::config::values::units::{ByteSize, Duration};
use crate::config::{Config, Route};
use crate::path;

/// A plugin: a WebAssembly module for the Proxy-Wasm ABI, and how it runs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// File with the module. Relative to the folder of the configuration file. Read again when it changes.
    pub(crate) wasm: PathBuf,
    /// The plugin's own configuration, handed to it as JSON; a text is handed as it is. Default: nothing.
    #[serde(default, skip_serializing_if = "FilterConfig::is_none")]
    pub(crate) config: FilterConfig,
    /// How much the plugin may take.
    #[serde(default)]
    pub(crate) limits: FilterLimits,
    /// What becomes of a message when the plugin fails: it traps, is over its time, or cannot be started.
    #[serde(default)]
    pub(crate) on_error: OnError,
    /// Which requests share an instance of the plugin.
    #[serde(default)]
    pub(crate) isolation: Isolation,
    /// Whether bodies reach the plugin without their content coding.
    #[serde(default)]
    pub(crate) decode: Decode,
    /// What still comes to the plugin while it holds back the head of a message.
    #[serde(default)]
    pub(crate) on_headers_pause: OnHeadersPause,
    /// Whether bodies go through the plugin.
    #[serde(default)]
    pub(crate) bodies: Bodies,
    /// Whether local responses, which plugins send in place of an upstream's, go through the plugin's response callbacks.
    #[serde(default)]
    pub(crate) local_responses: LocalResponses,
    /// Environment variables, the only ones that the plugin sees. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "propertyNames" = { "pattern": "^[^=\\u0000]+$" },
        "additionalProperties" = { "type": "string", "pattern": "^[^\\u0000]*$" },
    ))]
    pub(crate) env: BTreeMap<String, String>,
    /// Plugins with the same `vm_id` share data and queues. Default: the filter's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) vm_id: Option<String>,
    /// Name of the root context that the plugin creates, as its code registers it: the property `plugin_root_id`. Modules that
    /// register their contexts by name, as those in AssemblyScript and some in C++ do, start with one of their names only;
    /// all others ignore it. Default: empty, the name under which C++ modules register without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) root_id: String,
}

/// What a plugin is configured with: anything that YAML can say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct FilterConfig(serde_json::Value);

impl FilterConfig {
    /// Whether there is none.
    fn is_none(&self) -> bool {
        self.0.is_null()
    }

    /// What the plugin is handed: nothing where there is no configuration, a text as it is, all else as JSON without
    /// spaces, its keys in the order of the file.
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
    /// Linear memory of one instance, from 64KiB to 4GiB. A plugin that asks for more gets none.
    #[schemars(extend("pattern" = ByteSize::pattern(Self::MEMORY_MIN.bytes(), Self::MEMORY_MAX.bytes())))]
    pub(crate) memory: ByteSize,
    /// CPU time of one call into the plugin; over it, the plugin has failed.
    pub(crate) time: Duration,
    /// CPU time of a start of the plugin: all of its calls until it is configured, during which it builds its tables. Over
    /// it, the plugin cannot be used. A start holds up the other requests of its worker.
    pub(crate) start: Duration,
    /// Bytes of a body that are held back while the plugin pauses; over it, 413 for a request and 500 for a
    /// response.
    pub(crate) body: ByteSize,
    /// How long the plugin may hold a message back; over it, the plugin has failed.
    pub(crate) pause: Duration,
    /// Bytes of the shared data and queues under its `vm_id`.
    pub(crate) shared_data: ByteSize,
    /// Bytes that the plugin makes for one exchange and the gateway holds at one time: of bodies, fields, calls, a local
    /// response, properties, and what one callback shares. Over it, the exchange ends with 500. Default: that of `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<ByteSize>,
}

impl FilterLimits {
    /// The least memory of an instance: a page.
    pub(crate) const MEMORY_MIN: ByteSize = ByteSize::from_bytes(64 << 10);

    /// The most memory of an instance: all that 32 bits can address.
    pub(crate) const MEMORY_MAX: ByteSize = ByteSize::from_bytes(4 << 30);
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            memory: ByteSize::from_bytes(32 << 20),
            time: Duration::from_millis(50),
            // Firewalls in Go with their rules take 0.4 to 0.7 seconds; nothing else that is known takes a tenth of that.
            start: Duration::from_secs(1),
            body: ByteSize::from_bytes(1 << 20),
            pause: Duration::from_secs(30),
            shared_data: ByteSize::from_bytes(1 << 20),
            output: None,
        }
    }
}

/// What becomes of a message when its plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// It is answered with 500, or cut off where its response has begun.
    #[default]
    Closed,
    /// It goes on as if the plugin were not there.
    Open,
}

/// Which requests share an instance of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// All that a worker serves, one after the other or at the same time.
    #[default]
    Worker,
    /// None: each has a fresh one.
    Request,
}

/// Whether bodies reach a plugin without their content coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decode {
    /// Without gzip, deflate, br and zstd.
    #[default]
    Auto,
    /// As they came.
    Off,
}

/// What still comes to a plugin while it holds back the head of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnHeadersPause {
    /// Nothing, until the plugin continues.
    #[default]
    StopAll,
    /// The body, while the head waits.
    ContinueBody,
}

/// Whether bodies go through a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bodies {
    /// They do, if the module has callbacks for them.
    #[default]
    On,
    /// They pass it untouched, with their length: its callbacks for bodies and trailers are never called.
    Off,
}

/// Whether local responses go through a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LocalResponses {
    /// They do, if the request went through the plugin before: as any response does.
    #[default]
    On,
    /// They pass it untouched, its own ones as well.
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
        /// In place of the `config` that is written there; `null` for none. Default: the one that is written there.
        #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
        #[schemars(with = "FilterConfig")]
        config: Option<FilterConfig>,
    },
    /// One of its own, which is called as its file is: `shout` for `plugins/shout.wasm`.
    Inline(Box<Filter>),
}

/// What is written, be it `null`: a key that is left out never comes here.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FilterConfig>, D::Error> {
    FilterConfig::deserialize(deserializer).map(Some)
}

impl FilterUse {
    /// The name of one of `filters`, where it is one of them.
    pub(crate) fn named(&self) -> Option<&str> {
        match self {
            Self::Named(name) | Self::Use { filter: name, .. } => Some(name),
            Self::Inline(_) => None,
        }
    }
}

impl Filter {
    /// What a filter without a name is called: its file's name without the extension.
    pub(crate) fn stem(&self) -> Cow<'_, str> {
        self.wasm.file_stem().unwrap_or_default().to_string_lossy()
    }

    /// A filter that is in no configuration file. `keys` is a mapping in YAML of what it has besides its module and its
    /// configuration, as [`Filter`] has it; `config` is JSON, or a text that is handed to it as it is.
    ///
    /// # Errors
    /// What is wrong with the keys.
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

    /// The filter as it runs, under a name.
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
            // What a plugin makes at once it mostly has in its own memory before.
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

/// A filter of a route, with everything that holds for it: two that are equal can be one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FilterSettings {
    /// The name in logs, metrics and errors.
    pub(crate) name: String,
    /// The module's file.
    pub(crate) wasm: PathBuf,
    /// What the plugin is configured with; empty for nothing.
    pub(crate) config: Vec<u8>,
    /// Linear memory of an instance.
    pub(crate) memory_bytes_max: usize,
    /// CPU time of one call.
    pub(crate) time: time::Duration,
    /// CPU time of a start.
    pub(crate) start: time::Duration,
    /// Bytes of a body held back.
    pub(crate) body_bytes_max: usize,
    /// How long a message is held back.
    pub(crate) pause: time::Duration,
    /// Shared data and queues under the `vm_id`.
    pub(crate) shared_data_bytes_max: usize,
    /// Bytes that it makes for one exchange.
    pub(crate) output_bytes_max: usize,
    /// What becomes of a message when the plugin fails.
    pub(crate) on_error: OnError,
    /// Which requests share an instance.
    pub(crate) isolation: Isolation,
    /// Whether bodies come without their content coding.
    pub(crate) decode: bool,
    /// Whether bodies and trailers come at all.
    pub(crate) bodies: bool,
    /// What still comes while the plugin holds back a head.
    pub(crate) on_headers_pause: OnHeadersPause,
    /// Whether local responses go through it.
    pub(crate) local_responses: bool,
    /// All environment variables.
    pub(crate) env: BTreeMap<String, String>,
    /// The plugins with which it shares data and queues.
    pub(crate) vm_id: String,
    /// The name of its root context; empty for none.
    pub(crate) root_id: String,
}

impl Config {
    /// The filters of a route, which is the one at `index`: in the order in which requests go through them, each with
    /// the place at which to report what is wrong with its module.
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

    /// The list that holds for a route: its own, or the one of `defaults`.
    pub(crate) fn filters_written<'a>(&'a self, route: &'a Route) -> &'a [FilterUse] {
        route.filters.as_ref().or(self.defaults.filters.as_ref()).map_or(&[], Vec::as_slice)
    }

    /// The files of the modules of filters that are written in the list of a route or of `defaults`.
    pub(crate) fn inline_modules<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = &'a Path> {
        self.filters_written(route).iter().filter_map(|one| match one {
            FilterUse::Inline(filter) => Some(&*filter.wasm),
            _ => None,
        })
    }
}
