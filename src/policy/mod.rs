//! What the gateway itself does for a route: rewrites paths, answers, redirects, edits header fields. One
//! behaviour a file, each built once from what the configuration says, with all that can be wrong found then.

mod headers;
mod redirect;
mod respond;
mod reverse;
mod rewrite;
mod template;

pub use headers::{HeaderEditError, HeaderEdits};
pub use redirect::{Redirect, RedirectError};
pub use respond::{Respond, RespondError};
pub use reverse::Reverse;
pub use rewrite::{Rewrite, RewriteError};
pub use template::TemplateError;
