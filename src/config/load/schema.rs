//! The JSON Schema of the configuration, generated from its types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use crate::config::{
    Config, GrpcWeb, HostHeader, Pool, Retry, RewriteCookies, RewriteLocation, Timeouts, UpgradeProtocol,
};

/// The name of the definition of a text with a variable.
const VARIABLE: &str = "Variable";

/// Returns the JSON Schema (2020-12) of a configuration file; descriptions are the documentation of the keys.
///
/// It accepts what [`crate::config::load()`] accepts: wherever a number, a switch or a formatted text is valid, a text
/// with a variable is too. It rejects unknown keys, and values of a wrong type, unit or range. `docs/configuration.md`
/// lists what it cannot know.
pub(crate) fn json_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = rules().clone();
        let mut formats = Map::new();
        allow_variables(&mut schema, &mut formats);
        if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
            definitions.extend(formats);
            definitions.insert(VARIABLE.to_owned(), variable());
        }
        schema
    });
    &SCHEMA
}

/// Returns the schema of a file whose variables are replaced, against which the program checks a file.
pub(crate) fn rules() -> &'static Value {
    static RULES: LazyLock<Value> = LazyLock::new(generate);
    &RULES
}

fn variable() -> Value {
    json!({
        "description": "A text with a variable of the environment: `${NAME}` or `${NAME:-default}`.",
        "type": "string",
        "pattern": "(?:^|[^$])\\$\\{[A-Za-z_][0-9A-Za-z_]*(?:\\}|:-)",
    })
}

/// Permits a text with a variable wherever a schema has a formatted scalar. Texts of the same format, whose patterns
/// are long, become references to one definition in `formats`.
fn allow_variables(schema: &mut Value, formats: &mut Map<String, Value>) {
    let Some(object) = schema.as_object_mut() else { return };
    for key in ["$defs", "properties", "patternProperties"] {
        if let Some(Value::Object(schemas)) = object.get_mut(key) {
            schemas.values_mut().for_each(|schema| allow_variables(schema, formats));
        }
    }
    for key in ["items", "additionalProperties"] {
        object.get_mut(key).into_iter().for_each(|schema| allow_variables(schema, formats));
    }
    let reference = json!({ "$ref": format!("#/$defs/{VARIABLE}") });
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(choices)) = object.get_mut(key) else { continue };
        let is_scalar = choices.iter().any(is_formed_scalar);
        for choice in choices.iter_mut() {
            if is_formed_scalar(choice) {
                refer_to_format(choice, formats);
            } else {
                allow_variables(choice, formats);
            }
        }
        // A `oneOf` of `required` belongs to a mapping.
        if is_scalar {
            choices.push(reference.clone());
        }
    }
    if is_formed_scalar(&Value::Object(object.clone())) {
        let outside = ["description", "default", "title"];
        let kept: Vec<_> = outside.iter().filter_map(|key| object.remove_entry(*key)).collect();
        let mut scalar = Value::Object(std::mem::take(object));
        refer_to_format(&mut scalar, formats);
        object.extend(kept);
        object.insert("anyOf".to_owned(), json!([scalar, reference]));
    }
}

/// Replaces a text of a format by a reference to its definition, unless it has bounds of its own.
fn refer_to_format(scalar: &mut Value, formats: &mut Map<String, Value>) {
    let Some(format) = scalar.get("format").and_then(Value::as_str).map(str::to_owned) else { return };
    let Some(mut bare) = scalar.as_object().cloned() else { return };
    bare.remove("description");
    if *formats.entry(&format).or_insert_with(|| bare.clone().into()) == Value::Object(bare) {
        *scalar = json!({ "$ref": format!("#/$defs/{format}") });
    }
}

/// Returns true for a number, a switch, fixed words, or a text with a pattern or a minimum length.
fn is_formed_scalar(schema: &Value) -> bool {
    let is_text = || ["pattern", "minLength", "enum"].iter().any(|key| schema.get(key).is_some());
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number" | "boolean") => true,
        Some("string") => schema.get("const").is_some() || is_text(),
        Some(_) => false,
        None => schema.get("const").is_some() || schema.get("enum").is_some(),
    }
}

fn generate() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy as fn(&mut schemars::Schema)));
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    add_defaults(&mut schema, "Pool", serde_json::to_value(Pool::built_in()));
    add_defaults(&mut schema, "Timeouts", serde_json::to_value(Timeouts::built_in()));
    add_defaults(&mut schema, "Retry", serde_json::to_value(Retry::built_in()));
    let shared = json!({
        "host": HostHeader::default(),
        "upgrade": [UpgradeProtocol::websocket()],
        "rewrite_location": RewriteLocation::default(),
        "rewrite_cookies": RewriteCookies::default(),
        "grpc_web": GrpcWeb::default(),
    });
    add_defaults(&mut schema, "Route", Ok(shared));
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), json!("Configuration of the gateway"));
    }
    schema
}

/// Aligns the schema with the parser. No key accepts `null`, and integers have the bounds of their Rust types. Defaults
/// of sections go, because their keys have their own. Line breaks of the source code go, too.
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

/// Replaces the format of an integer, which is useless to an editor, by the bounds that it means.
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
