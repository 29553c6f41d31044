//! HTTP as messages: fields, bodies, errors, paths, the rules of forwarding, and the codec of HTTP/1.

pub(crate) mod body;
pub mod error;
pub(crate) mod error_page;
pub mod fields;
pub mod forward;
pub(crate) mod h1;
pub(crate) mod interim;
pub mod message;
pub mod path;
