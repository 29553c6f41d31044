//! HTTP/1.0 and 1.1 (RFC 9112), both sides.
//!
//! This is our own engine, on httparse, because the gateway promises things that no library's connection exposes.
//! Ambiguous framing is rejected and not repaired, each limit has its own status, and interim responses pass. A retry
//! knows whether a byte was written or read, and an idle connection holds no buffer.

mod case;
mod chunked;
pub(crate) mod decoder;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod output;
mod target;

pub(crate) use head::ResponseHead;
pub(crate) use target::parse_target;
