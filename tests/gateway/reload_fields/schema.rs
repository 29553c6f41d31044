//! Every key that the JSON schema knows.

use std::collections::BTreeSet;

use support::serde_json::{self, Value};

const SCHEMA: &str = include_str!("../../../docs/gateway.schema.json");

/// The keys that have a value of their own, as paths: `routes[].match.path`, `upstreams.NAME.pool.max_idle`. A
/// section is its keys, unless it may be written as something else, too.
pub(crate) fn keys() -> BTreeSet<String> {
    let root: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut keys = BTreeSet::new();
    collect(&root, &root, "", &mut keys);
    keys
}

fn collect(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let (mut is_section, mut is_value) = (false, false);
    for choice in choices(root, schema) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let values = &choice["additionalProperties"];
        if let Some(properties) = choice["properties"].as_object() {
            is_section = true;
            properties.iter().for_each(|(key, property)| collect(root, property, &below(key), keys));
        } else if holds_sections(root, values) {
            collect(root, values, &below("NAME"), keys);
            is_section = true;
        } else if holds_sections(root, &choice["items"]) {
            collect(root, &choice["items"], &format!("{path}[]"), keys);
            is_section = true;
        } else {
            is_value = true;
        }
    }
    if is_value || !is_section {
        keys.insert(path.to_owned());
    }
}

fn holds_sections(root: &Value, schema: &Value) -> bool {
    schema.is_object() && choices(root, schema).iter().any(|choice| choice["properties"].is_object())
}

/// Returns the schemas that are permitted at a place, without references.
fn choices<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        return choices(root, root.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let several = ["anyOf", "oneOf"].into_iter().find_map(|key| schema[key].as_array());
    // Those that only ask for keys are no choices.
    let is_choice = |choice: &Value| choice["required"].is_null() || !choice["type"].is_null();
    match several.filter(|several| several.iter().all(is_choice)) {
        Some(several) => several.iter().flat_map(|choice| choices(root, choice)).collect(),
        None => vec![schema],
    }
}
