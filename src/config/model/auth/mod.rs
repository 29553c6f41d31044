//! `auth`: the ways to know who calls.

pub(crate) mod jwt;
