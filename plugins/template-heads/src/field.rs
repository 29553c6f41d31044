//! The logic, which calls nothing of the gateway: `cargo test` runs it natively.

use serde::Deserialize;

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    value: String,
}

impl Field {
    /// The field's value for a response of this media type; `None` where the response gets no field.
    pub(crate) fn value_for(&self, media_type: &[u8]) -> Option<&str> {
        media_type
            .starts_with(b"text/")
            .then_some(self.value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_set_for_text_only() {
        let field = Field { value: "a".into() };
        let table: [(&[u8], Option<&str>); 4] = [
            (b"text/html; charset=utf-8", Some("a")),
            (b"application/json", None),
            (b"\xff", None),
            (b"", None),
        ];
        for (media_type, expected) in table {
            assert_eq!(field.value_for(media_type), expected, "{media_type:?}");
        }
    }

    #[test]
    fn unknown_key_is_an_error() {
        assert!(serde_json::from_str::<Field>(r#"{"value":"a"}"#).is_ok());
        assert!(serde_json::from_str::<Field>(r#"{"vlaue":"a"}"#).is_err());
    }
}
