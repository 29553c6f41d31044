//! Values of settings that the word `off` switches off.

use std::borrow::Cow;
use std::{fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::byte_size::ByteSize;
use super::duration::Duration;

/// A setting that the word `off` switches off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OrOff<T> {
    /// Written as `off`.
    #[default]
    Off,
    /// Any value of the setting.
    On(T),
}

impl<T> OrOff<T> {
    /// Returns the value, or `None` for `off`.
    pub(crate) fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }

    /// Returns a reference to the value, or `None` for `off`.
    pub(crate) fn as_on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for OrOff<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Off, Self::On)
    }
}

impl OrOff<Duration> {
    /// Returns the duration as a type of the standard library, or `None` for `off`.
    pub(crate) fn duration(self) -> Option<time::Duration> {
        self.on().map(Into::into)
    }
}

impl OrOff<ByteSize> {
    /// Returns the number of bytes, or `None` for `off`.
    pub(crate) fn bytes(self) -> Option<u64> {
        self.on().map(ByteSize::bytes)
    }
}

impl<T: Serialize> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrOffVisitor(std::marker::PhantomData))
    }
}

/// A visitor that takes the word `off` and passes everything else on to `T`.
struct OrOffVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OrOffVisitor<T> {
    type Value = OrOff<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or `off`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "off" {
            return Ok(OrOff::Off);
        }
        T::deserialize(de::value::StrDeserializer::new(text)).map(OrOff::On)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(de::value::U64Deserializer::new(number)).map(OrOff::On)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::SeqAccessDeserializer::new(list)).map(OrOff::On)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(OrOff::On)
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_off", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "const": "off" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, OrOff};

    #[test]
    fn off_is_no_value() {
        let off: OrOff<Duration> = serde_json::from_str(r#""off""#).unwrap();
        let on: OrOff<Duration> = serde_json::from_str(r#""3s""#).unwrap();
        assert_eq!(off.duration(), None);
        assert_eq!(on.duration(), Some(std::time::Duration::from_secs(3)));
        assert_eq!(serde_json::from_str::<OrOff<u32>>("7").unwrap().on(), Some(7));
        assert!(serde_json::from_str::<OrOff<Duration>>("3").is_err());
    }
}
