//! Files of API keys.

use serde::Deserialize;
use serde_json::{Map, Value};

/// An entry of a file of API keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    /// The name of the caller.
    pub(crate) id: String,
    /// The digest of the key.
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) metadata: Map<String, Value>,
}

/// Reads a file: a list of entries, or nothing.
///
/// # Errors
/// Returns the number of the line with the first mistake. The parser's own words are left out: they may show a key.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<KeyEntry>, usize> {
    let entries: Result<Option<Vec<KeyEntry>>, _> = serde_yaml::from_str(text);
    match entries {
        Ok(entries) => Ok(entries.unwrap_or_default()),
        Err(error) => Err(error.location().map_or(1, |location| location.line())),
    }
}
