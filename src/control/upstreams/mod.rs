//! Background work for upstreams.

pub(crate) mod dns;
pub(crate) mod names;
