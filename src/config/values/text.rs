//! Values that the file writes as text. One macro ties parsing, printing and schema together.

/// Implements serde and the JSON Schema for a type that the file writes as text: serde by its `FromStr` and `Display`,
/// the schema by the given format and pattern.
///
/// [`crate::config::load::format::find`] finds the check of a value by the format's name, so each type needs a line
/// there. The pattern matches exactly the texts that the parser accepts, so that editors reject what the program
/// rejects.
macro_rules! text_type {
    ($type:ident, format: $format:literal, pattern: $pattern:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "pattern": String::from($pattern) })
            }
        }
    };
}

pub(crate) use text_type;

/// An error for a text that is not a value of its type, with advice if there is any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Malformed {
    /// The error, beginning in lower case, without a full stop.
    pub(crate) message: String,
    /// The advice.
    pub(crate) help: Option<String>,
}

impl Malformed {
    /// Creates an error without advice.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Adds the advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
