//! The keys in which two parts of a configuration differ.

use serde::Serialize;
use serde_json::Value;

/// Returns the paths of the keys that differ, such as `pool.max_idle`. Values are never included, because they may be
/// secret. A list counts as one value.
pub(crate) fn differing_keys<T: Serialize>(before: &T, after: &T) -> Vec<String> {
    let mut keys = Vec::new();
    // Values that were read from YAML can be serialised.
    if let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        collect("", &before, &after, &mut keys);
    }
    keys
}

fn collect(path: &str, before: &Value, after: &Value, keys: &mut Vec<String>) {
    let (Value::Object(was), Value::Object(is)) = (before, after) else {
        if before != after {
            keys.push(path.to_owned());
        }
        return;
    };
    let new = is.keys().filter(|key| !was.contains_key(*key));
    for key in was.keys().chain(new) {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let null = &Value::Null;
        collect(&below, was.get(key).unwrap_or(null), is.get(key).unwrap_or(null), keys);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differing_keys_are_paths() {
        let before =
            json!({ "name": "a", "pool": { "max_idle": 1, "min_idle": 0 }, "gone": 1, "list": [1, 2] });
        let after =
            json!({ "name": "a", "pool": { "max_idle": 2, "min_idle": 0 }, "new": {}, "list": [2, 1] });
        assert_eq!(differing_keys(&before, &after), ["pool.max_idle", "gone", "list", "new"]);
        assert!(differing_keys(&before, &before).is_empty());
    }
}
