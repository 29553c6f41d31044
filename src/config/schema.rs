//! The JSON Schema of the configuration, made from its types.

use std::sync::LazyLock;

use schemars::{generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use super::{Config, HostHeader, Pool, Retry, Timeouts, UpgradeProtocol};

/// The JSON Schema (2020-12) of a configuration file. It accepts what [`super::load()`] accepts, and refuses
/// what it refuses as far as a schema can say; descriptions are the documentation of the keys.
pub fn json_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generate);
    &SCHEMA
}

fn generate() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy as fn(&mut schemars::Schema)));
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    add_defaults(&mut schema, "Pool", serde_json::to_value(Pool::built_in()));
    add_defaults(&mut schema, "Timeouts", serde_json::to_value(Timeouts::built_in()));
    add_defaults(&mut schema, "Retry", serde_json::to_value(Retry::built_in()));
    let shared = json!({ "host": HostHeader::default(), "upgrade": [UpgradeProtocol::websocket()] });
    add_defaults(&mut schema, "Route", Ok(shared));
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), json!("Configuration of the gateway"));
    }
    schema
}

/// Makes the schema say what the parser does: no key takes `null`, integers have the bounds of their Rust
/// types; the default of a section goes, its keys have their own; line breaks of the code are not the
/// reader's.
fn tidy(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
    if object.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        object.remove("default");
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    bound_integer(object);
}

/// Replaces the format of an integer, which is of no use to an editor, by the bounds that it means.
fn bound_integer(object: &mut Map<String, Value>) {
    let maximum = match object.get("format").and_then(Value::as_str) {
        Some("uint8") => u64::from(u8::MAX),
        Some("uint16") => u64::from(u16::MAX),
        Some("uint32") => u64::from(u32::MAX),
        _ => return,
    };
    object.remove("format");
    object.entry("minimum").or_insert(json!(0));
    object.insert("maximum".to_owned(), object.get("maximum").cloned().unwrap_or_else(|| json!(maximum)));
}

/// Writes the built-in values of a section, all of whose keys are optional, into its schema.
fn add_defaults(schema: &mut Value, section: &str, built_in: serde_json::Result<Value>) {
    let properties =
        schema.pointer_mut(&format!("/$defs/{section}/properties")).and_then(Value::as_object_mut);
    let (Some(properties), Ok(Value::Object(built_in))) = (properties, built_in) else { return };
    for (key, value) in built_in {
        if let Some(Value::Object(property)) = properties.get_mut(&key) {
            property.insert("default".to_owned(), value);
        }
    }
}
