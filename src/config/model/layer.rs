//! Sections of the file that come in layers: a route's, an upstream's, the defaults.

/// Declares a section whose keys may all be left out, with a method `or` that takes missing keys from the layer below.
macro_rules! layer {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $value:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$key_doc])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $key: Option<$value>,)*
        }

        impl $name {
            fn or(self, lower: &Self) -> Self {
                Self { $($key: self.$key.or_else(|| lower.$key.clone()),)* }
            }
        }
    };
}
