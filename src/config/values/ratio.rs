//! Fractions of one, as the file writes them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number from 0 to 1, such as the share of requests that is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio(f64);

/// It is never NaN.
impl Eq for Ratio {}

impl Ratio {
    /// Everything.
    pub(crate) const ONE: Self = Self(1.0);

    /// Returns the fraction as a number from 0 to 1.
    pub(crate) const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&number) {
            return Ok(Self(number));
        }
        Err(de::Error::custom(format_args!("`{number}` is not a number from 0 to 1")))
    }
}

impl JsonSchema for Ratio {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn ratio_is_a_number_from_0_to_1() {
        for text in ["0", "1", "0.1", "1e-3", "1.0"] {
            let ratio: Ratio = serde_yaml::from_str(text).unwrap();
            assert_eq!(ratio.get().to_string().parse::<f64>(), text.parse::<f64>(), "{text}");
        }
        for text in ["-0.1", "1.1", "2", ".nan", ".inf", "10%", "''"] {
            assert!(serde_yaml::from_str::<Ratio>(text).is_err(), "{text}");
        }
    }
}
