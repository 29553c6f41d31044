//! Reading the parts of the JSON Schema that the types of the configuration make use of.

use serde_json::Value as Json;

use super::format;

/// The schemas that a value may follow one of: references are resolved, nested alternatives laid flat.
pub(crate) fn choices<'j>(root: &'j Json, schema: &'j Json) -> Vec<&'j Json> {
    let schema = match string(schema, "$ref").and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    };
    let nested = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array());
    // A `oneOf` of nothing but `required` belongs to an object; it offers no choice of schemas.
    let is_choice = |choice: &&Json| choice.get("required").is_none() || choice.get("type").is_some();
    let nested: Vec<&Json> = nested.flatten().filter(is_choice).collect();
    if nested.is_empty() {
        return vec![schema];
    }
    nested.into_iter().flat_map(|choice| choices(root, choice)).collect()
}

/// What the schema of an object says of which keys there are to be.
#[derive(Default)]
pub(crate) struct Presence<'j> {
    /// All of these.
    pub(crate) required: Vec<&'j str>,
    /// Exactly one of these, where there are any.
    pub(crate) one_of: Vec<&'j str>,
    /// At least one of these, where there are any.
    pub(crate) any_of: Vec<&'j str>,
    /// Not both of a pair.
    pub(crate) exclusive: Vec<Exclusive<'j>>,
}

/// Two keys that exclude each other.
pub(crate) struct Exclusive<'j> {
    pub(crate) pair: [&'j str; 2],
    /// The advice in the schema's `$comment`, for a pair of which more can be said than to take one out.
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

/// The text of a keyword.
pub(crate) fn string<'j>(schema: &'j Json, key: &str) -> Option<&'j str> {
    schema.get(key)?.as_str()
}

/// The items of a keyword; none where it is not there.
pub(crate) fn array<'j>(schema: &'j Json, key: &str) -> impl Iterator<Item = &'j Json> + use<'j> {
    schema.get(key).and_then(Json::as_array).into_iter().flatten()
}

/// Whether a schema says nothing of a value: it may be anything.
pub(crate) fn is_anything(schema: &Json) -> bool {
    ["type", "const", "enum"].iter().all(|key| schema.get(key).is_none())
}

/// The keys that a schema asks for.
pub(crate) fn required(schema: &Json) -> impl Iterator<Item = &str> {
    array(schema, "required").filter_map(Json::as_str)
}

/// Whether a schema stands for fixed words only.
pub(crate) fn is_word(schema: &Json) -> bool {
    schema.get("const").is_some()
        || (schema.get("enum").is_some() && string(schema, "type") == Some("string"))
}

/// The fixed words among the choices.
pub(crate) fn words<'j>(choices: &[&'j Json]) -> Vec<&'j str> {
    let words = choices.iter().filter(|choice| is_word(choice));
    words
        .flat_map(|choice| choice.get("const").into_iter().chain(array(choice, "enum")))
        .filter_map(Json::as_str)
        .collect()
}

/// The choices that take texts other than fixed words.
pub(crate) fn texts<'j>(choices: &[&'j Json]) -> impl Iterator<Item = &'j Json> {
    choices.iter().copied().filter(|choice| string(choice, "type") == Some("string") && !is_word(choice))
}

/// Whether a text would do, were it written as one.
pub(crate) fn takes_text(choices: &[&Json], text: &str) -> bool {
    words(choices).contains(&text) || texts(choices).next().is_some()
}

/// What may stand here, in words: "a duration such as `30s` or `off`".
pub(crate) fn expected(choices: &[&Json]) -> String {
    let kinds = choices.iter().filter(|choice| !is_word(choice)).map(|choice| match string(choice, "type") {
        Some("object") => "a mapping",
        Some("array") => "a list",
        Some("integer") => "a whole number",
        Some("boolean") => "`true` or `false`",
        _ => string(choice, "format").and_then(format::find).map_or("text", |format| format.noun),
    });
    let kinds = kinds.map(str::to_owned).chain(words(choices).into_iter().map(|word| format!("`{word}`")));
    alternatives(kinds)
}

/// The kinds of what may stand somewhere, each once: "text or a mapping".
pub(crate) fn alternatives(kinds: impl Iterator<Item = String>) -> String {
    let mut kinds: Vec<String> = kinds.collect();
    // Different mappings are neighbours, and one kind.
    kinds.dedup();
    kinds.join(" or ")
}

/// "`a`, `b` and `c`".
pub(crate) fn list(names: &[&str], conjunction: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}
