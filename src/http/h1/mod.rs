//! HTTP/1.0 and 1.1 (RFC 9112), both sides.
//!
//! An engine of our own, on httparse, because the gateway promises what no library's connection shows: framing
//! that could be read in two ways is refused and not repaired, each limit answers with its own status, interim
//! responses pass, a retry knows whether a byte was written or read, and an idle connection holds no buffer.
//! HTTP/2 is hyper's.

mod case;
mod chunked;
pub(crate) mod decoder;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod output;
mod target;

pub(crate) use framing::may_have_body;
pub(crate) use head::{HeadLimits, ResponseHead};
pub(crate) use target::parse_target;
