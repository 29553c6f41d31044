//! The values of keys: durations, sizes, hosts, paths, field names. Each parses and prints itself.

mod amount;
pub(crate) mod base_path;
pub(crate) mod byte_size;
pub(crate) mod cookie_name;
pub(crate) mod dns;
pub(crate) mod duration;
pub(crate) mod endpoint_url;
pub(crate) mod hash_key;
pub(crate) mod header;
pub(crate) mod hedge_after;
pub(crate) mod host;
#[allow(dead_code, unused_imports, reason = "the configuration does not name it yet")]
pub(crate) mod key_source;
pub(crate) mod listener_address;
pub(crate) mod look_alike;
pub(crate) mod max_concurrent;
pub(crate) mod method;
pub(crate) mod network;
pub(crate) mod or_off;
pub(crate) mod origin;
pub(crate) mod parameter_name;
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
#[allow(dead_code, unused_imports, reason = "the configuration does not name it yet")]
pub(crate) mod token_place;
pub(crate) mod unix_socket;
pub(crate) mod upgrade_protocol;
