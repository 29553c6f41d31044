//! Background work on upstreams.

pub(crate) mod dns;
