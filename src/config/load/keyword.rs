//! Access to the parts of the JSON Schema that the configuration types use.

use serde_json::Value as Json;

use super::format;

/// Returns the alternative schemas for a value. References are resolved, nested alternatives flattened.
pub(crate) fn choices<'j>(root: &'j Json, schema: &'j Json) -> Vec<&'j Json> {
    let schema = match string(schema, "$ref").and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    };
    let nested = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array());
    // A `oneOf` of only `required` belongs to an object and offers no choice of schemas.
    let is_choice = |choice: &&Json| choice.get("required").is_none() || choice.get("type").is_some();
    let nested: Vec<&Json> = nested.flatten().filter(is_choice).collect();
    if nested.is_empty() {
        return vec![schema];
    }
    nested.into_iter().flat_map(|choice| choices(root, choice)).collect()
}

/// The presence rules of an object schema: required, exactly one of, at least one of, mutually exclusive.
#[derive(Default)]
pub(crate) struct Presence<'j> {
    /// Keys that are all required.
    pub(crate) required: Vec<&'j str>,
    /// Keys of which exactly one is required, if there are any.
    pub(crate) one_of: Vec<&'j str>,
    /// Keys of which at least one is required, if there are any.
    pub(crate) any_of: Vec<&'j str>,
    /// Pairs of keys that exclude each other.
    pub(crate) exclusive: Vec<Exclusive<'j>>,
}

/// Two keys that exclude each other.
pub(crate) struct Exclusive<'j> {
    pub(crate) pair: [&'j str; 2],
    /// The advice in the schema's `$comment`, if there is better advice than to take one out.
    pub(crate) help: Option<&'j str>,
}

/// Reads `required`, `oneOf` and `anyOf` of `required`, and `allOf` of `not` `required`.
pub(crate) fn presence(schema: &Json) -> Presence<'_> {
    fn pair(schema: &Json) -> Option<Exclusive<'_>> {
        match schema.pointer("/not/required")?.as_array()?.as_slice() {
            [Json::String(first), Json::String(second)] => {
                Some(Exclusive { pair: [first, second], help: string(schema, "$comment") })
            }
            _ => None,
        }
    }
    let keys = |keyword: &str| -> Vec<&str> {
        let choices = array(schema, keyword).flat_map(|choice| array(choice, "required"));
        choices.filter_map(Json::as_str).collect()
    };
    Presence {
        required: required(schema).collect(),
        one_of: keys("oneOf"),
        any_of: keys("anyOf"),
        exclusive: array(schema, "allOf").filter_map(pair).collect(),
    }
}

/// Returns the text of a keyword.
pub(crate) fn string<'j>(schema: &'j Json, key: &str) -> Option<&'j str> {
    schema.get(key)?.as_str()
}

/// Returns the items of a keyword, or none if it is missing.
pub(crate) fn array<'j>(schema: &'j Json, key: &str) -> impl Iterator<Item = &'j Json> + use<'j> {
    schema.get(key).and_then(Json::as_array).into_iter().flatten()
}

/// Returns true if a schema has no constraint, so that a value may be anything.
pub(crate) fn is_anything(schema: &Json) -> bool {
    ["type", "const", "enum"].iter().all(|key| schema.get(key).is_none())
}

/// Returns the keys that a schema requires.
pub(crate) fn required(schema: &Json) -> impl Iterator<Item = &str> {
    array(schema, "required").filter_map(Json::as_str)
}

/// Returns true if a schema permits fixed words only.
pub(crate) fn is_word(schema: &Json) -> bool {
    schema.get("const").is_some()
        || (schema.get("enum").is_some() && string(schema, "type") == Some("string"))
}

/// Returns the fixed words among the choices.
pub(crate) fn words<'j>(choices: &[&'j Json]) -> Vec<&'j str> {
    let words = choices.iter().filter(|choice| is_word(choice));
    words
        .flat_map(|choice| choice.get("const").into_iter().chain(array(choice, "enum")))
        .filter_map(Json::as_str)
        .collect()
}

/// Returns the choices for texts other than fixed words.
pub(crate) fn texts<'j>(choices: &[&'j Json]) -> impl Iterator<Item = &'j Json> {
    choices.iter().copied().filter(|choice| string(choice, "type") == Some("string") && !is_word(choice))
}

/// Returns true if the choices accept a text, assuming it is written as one.
pub(crate) fn takes_text(choices: &[&Json], text: &str) -> bool {
    words(choices).contains(&text) || texts(choices).next().is_some()
}

/// Returns the permitted values in words: "a duration such as `30s` or `off`".
pub(crate) fn expected(choices: &[&Json]) -> String {
    let kinds = choices.iter().filter(|choice| !is_word(choice)).map(|choice| match string(choice, "type") {
        Some("object") => "a mapping",
        Some("array") => "a list",
        Some("integer") => "a whole number",
        Some("number") => "a fraction such as `0.1`",
        Some("boolean") => "`true` or `false`",
        _ => string(choice, "format").and_then(format::find).map_or("text", |format| format.noun),
    });
    let kinds = kinds.map(str::to_owned).chain(words(choices).into_iter().map(|word| format!("`{word}`")));
    alternatives(kinds)
}

/// Joins the kinds of permitted values, each once: "text or a mapping".
pub(crate) fn alternatives(kinds: impl Iterator<Item = String>) -> String {
    let mut kinds: Vec<String> = kinds.collect();
    // All mappings are one kind, and they are neighbours.
    kinds.dedup();
    kinds.join(" or ")
}

/// Joins names: "`a`, `b` and `c`".
pub(crate) fn list(names: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}
