//! Background work on upstreams.

pub(crate) mod dns;
pub(crate) mod names;
