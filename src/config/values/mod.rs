//! The values of keys: durations, sizes, hosts, paths, field names. Each parses and prints itself.

pub(crate) mod base_path;
pub(crate) mod host;
pub(crate) mod http_text;
pub(crate) mod look_alike;
pub(crate) mod network;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod printable;
pub(crate) mod punycode;
pub(crate) mod segment;
pub(crate) mod text;
pub(crate) mod units;
