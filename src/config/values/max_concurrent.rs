//! The limit on requests at once to an endpoint.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The limit on requests at once to an endpoint: a number, `off`, or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum MaxConcurrent {
    #[default]
    Off,
    /// As many as the endpoint answers without becoming slow.
    Auto,
    At(NonZeroU32),
}

impl fmt::Display for MaxConcurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::At(count) => count.fmt(f),
        }
    }
}

impl Serialize for MaxConcurrent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(count) => count.serialize(serializer),
            Self::Off | Self::Auto => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for MaxConcurrent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaxConcurrentVisitor)
    }
}

struct MaxConcurrentVisitor;

impl de::Visitor<'_> for MaxConcurrentVisitor {
    type Value = MaxConcurrent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 1, `auto` or `off`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "off" => Ok(MaxConcurrent::Off),
            "auto" => Ok(MaxConcurrent::Auto),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let count = u32::try_from(number).ok().and_then(NonZeroU32::new);
        count.map(MaxConcurrent::At).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

impl JsonSchema for MaxConcurrent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxConcurrent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let count = generator.subschema_for::<NonZeroU32>();
        json_schema!({ "anyOf": [count, { "const": "auto" }, { "const": "off" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::MaxConcurrent;

    #[test]
    fn limits_are_written_as_they_are_read() {
        for text in ["\"off\"", "\"auto\"", "7"] {
            let limit: MaxConcurrent = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&limit).unwrap(), text);
        }
        for text in ["0", "\"on\"", "-1", "4294967296", "true"] {
            assert!(serde_json::from_str::<MaxConcurrent>(text).is_err(), "{text}");
        }
    }
}
