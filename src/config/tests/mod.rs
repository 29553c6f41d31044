//! Tests of whole files: their meaning, and the reports of their errors.
mod agreement;
mod errors;
mod examples;
mod filters;
mod grammars;
mod hints;
mod meaning;
mod paths;
mod robustness;
mod scale;
mod variables;

use super::{ConfigErrors, Loaded, parse_with};

/// Checks a text under the name `gateway.yaml`, in the folder `/etc/gateway`, with one environment variable.
fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    let environment = |name: &str| (name == "PORT").then(|| "8080".into());
    parse_with(text, "gateway.yaml", "/etc/gateway".as_ref(), &environment)
}

/// Returns a section of a file by itself.
pub(crate) fn section<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_yaml::from_str(text).unwrap()
}

/// The minimal content of a file, to which other top-level keys can be added.
const MINIMAL: &str = "\
listeners: [{ address: 127.0.0.1:8080 }]
routes: [{ upstream: { url: http://127.0.0.1:3000 } }]
";
