//! HTTP/2 (RFC 9113), both sides, without I/O: bytes in, events and bytes out. Only the [`Writer`] knows a stream.
//!
//! This is our own engine, for the same reasons as that of HTTP/1. A message that is malformed is refused and never repaired, each
//! limit has its own status, and interim responses pass. The pool sees every stream and knows what a peer has not processed. A
//! peer's cheap frames are counted, and what a connection can make the gateway hold is bounded by its windows.

#![allow(dead_code, reason = "extended CONNECT and other sizes of the header table are not used yet")]

mod abuse;
mod connection;
mod flow;
mod frame;
mod head;
mod hpack;
mod output;
mod reader;
mod settings;
mod stream;
mod streams;
mod writer;

pub(crate) use connection::send::OutgoingRequest;
pub(crate) use connection::{Connection, ConnectionError, Event, Limits};
pub(crate) use frame::Code;
pub(crate) use head::{RequestHead, ResponseHead};
pub(crate) use reader::PREFACE;
pub(crate) use stream::Part;
pub(crate) use streams::StreamKey;
pub(crate) use writer::Writer;
