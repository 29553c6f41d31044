//! The values of keys: durations, sizes, hosts, paths, field names. Each parses and prints itself.

pub(crate) mod base_path;
pub(crate) mod header;
pub(crate) mod host;
pub(crate) mod look_alike;
pub(crate) mod method;
pub(crate) mod network;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod printable;
pub(crate) mod punycode;
pub(crate) mod redirect_target;
pub(crate) mod segment;
pub(crate) mod status;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod units;
pub(crate) mod upgrade_protocol;
