//! Background work for upstreams.

pub(crate) mod dns;
pub(crate) mod health;
pub(crate) mod names;
pub(crate) mod resolver;
mod services;
mod system;
