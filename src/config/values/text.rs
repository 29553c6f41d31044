//! Values that the file writes as text: one macro ties parsing, printing and schema together.

/// Makes a type that is written as text in the file: serde through its `FromStr` and `Display`, and a JSON
/// Schema of the given format and pattern.
///
/// The format's name is what [`crate::config::load::format::find`] looks up to say what is wrong with a value, so each type
/// made here has a line there. The pattern matches the texts that the parser takes, and no others, so that editors refuse
/// what the program refuses.
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

/// Why a text is not a value of its type: what is wrong, and what to write instead where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Malformed {
    /// What is wrong, beginning in lower case, without a full stop.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
}

impl Malformed {
    /// An error without advice.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Adds the advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
