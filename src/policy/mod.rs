//! What the gateway itself does for a route: rewrites paths, answers, redirects, edits header fields. One
//! behaviour a file, each built once from what the configuration says, with all that can be wrong found then.

mod headers;
mod redirect;
mod respond;
mod reverse;
mod rewrite;
mod template;

pub(crate) use headers::{HeaderEditError, HeaderEdits};
pub(crate) use redirect::Redirect;
pub(crate) use respond::Respond;
pub(crate) use reverse::Reverse;
pub(crate) use rewrite::Rewrite;
