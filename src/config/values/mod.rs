//! The values of keys: durations, sizes, hosts, paths, field names. Each parses and prints itself.

mod amount;
pub(crate) mod base_path;
pub(crate) mod byte_size;
pub(crate) mod cookie_name;
pub(crate) mod dns;
pub(crate) mod duration;
pub(crate) mod hash_key;
pub(crate) mod header;
pub(crate) mod hedge_after;
pub(crate) mod host;
pub(crate) mod look_alike;
pub(crate) mod max_concurrent;
pub(crate) mod method;
pub(crate) mod network;
pub(crate) mod or_off;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod printable;
pub(crate) mod punycode;
pub(crate) mod redirect_target;
pub(crate) mod request_target;
pub(crate) mod segment;
pub(crate) mod status;
pub(crate) mod status_range;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod upgrade_protocol;
