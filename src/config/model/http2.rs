//! `http2`: what clients may have open and under way on a connection of HTTP/2.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;

/// Windows and limits of HTTP/2 connections. A connection can make the gateway hold at most `connection_window`, two
/// `header_table`, the heads of `max_streams` requests (`limits.header_bytes`) and some 100KiB of frames. A change applies to new
/// connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerHttp2 {
    /// Requests at once on one connection, at most 10000; further ones are refused, and clients send them later or elsewhere.
    #[schemars(range(max = ListenerHttp2::MAX_STREAMS_MAX))]
    pub(crate) max_streams: NonZeroU32,
    /// Bytes of one request's body that a client may send before an upstream takes them, from 64KiB to 1GiB. A client may send
    /// three quarters of it in a round trip: 100 Mbit/s × 100 ms = 1.2MiB fit into the default.
    #[schemars(extend("pattern" = ByteSize::pattern(Self::WINDOW_MIN.bytes(), Self::WINDOW_MAX.bytes())))]
    pub(crate) stream_window: ByteSize,
    /// The same for all requests of a connection together. It is at least `stream_window`; if it is more, uploads to a slow
    /// upstream leave room for others.
    #[schemars(extend("pattern" = ByteSize::pattern(Self::WINDOW_MIN.bytes(), Self::WINDOW_MAX.bytes())))]
    pub(crate) connection_window: ByteSize,
    /// Bytes of the table of fields that a client may refer to in later heads, from 4KiB to 1MiB.
    #[schemars(extend("pattern" = ByteSize::pattern(Self::TABLE_MIN.bytes(), Self::TABLE_MAX.bytes())))]
    pub(crate) header_table: ByteSize,
}

impl ListenerHttp2 {
    /// The maximum of `max_streams`: each is a task with its request.
    pub(crate) const MAX_STREAMS_MAX: u32 = 10_000;

    /// The least window. A client may send 65535 bytes before it knows the gateway's settings (RFC 9113 §6.9.2).
    pub(crate) const WINDOW_MIN: ByteSize = ByteSize::from_bytes(64 << 10);

    /// The greatest window: half of what the protocol can count, as settings may add to updates.
    pub(crate) const WINDOW_MAX: ByteSize = ByteSize::from_bytes(1 << 30);

    /// The least table. A client may use as much before it knows the gateway's settings (RFC 9113 §6.5.2).
    pub(crate) const TABLE_MIN: ByteSize = ByteSize::from_bytes(4 << 10);

    pub(crate) const TABLE_MAX: ByteSize = ByteSize::from_bytes(1 << 20);
}

impl Default for ListenerHttp2 {
    fn default() -> Self {
        Self {
            max_streams: crate::config::model::count(128),
            stream_window: ByteSize::from_bytes(2 << 20),
            connection_window: ByteSize::from_bytes(8 << 20),
            header_table: ByteSize::from_bytes(4 << 10),
        }
    }
}
