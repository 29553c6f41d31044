//! The shared tools of the integration tests: the program as a process ([`Gateway`]), scripted upstreams ([`Origin`]),
//! raw downstream clients ([`Client`], [`Http2Client`]) and [`Certificates`]. Everything runs on real sockets, on ports
//! that the kernel chose, and every wait is bounded by [`PATIENCE`].
//!
//! If an expected result does not arrive, the tools panic and show what arrived instead, so a test reads as a list of
//! steps:
//!
//! ```no_run
//! # async fn test() {
//! use support::{Gateway, Origin};
//!
//! // In the integration binary: env!("CARGO_BIN_EXE_gateway").
//! let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
//! let config = "
//! listeners: [{ name: web, address: 127.0.0.1:0 }]
//! admin: { address: 127.0.0.1:0 }
//! routes: [{ match: { prefix: / }, upstream: { url: '{origin}' } }]";
//! let gateway = Gateway::builder("target/debug/gateway", config).set("origin", origin.url()).start().await;
//!
//! let mut client = gateway.client("web").await;
//! assert_eq!(client.get("/").await.body, b"ok");
//! assert_eq!(client.get("/").await.status, 200);
//! assert_eq!(origin.accepted(), 1, "the second request took the kept connection");
//! # }
//! ```
//!
//! Scripts of origins meet the test at a [`Gate`]. A state without an event is awaited with [`wait_until`]. If a limit
//! of the gateway must not be reached, the test runs [with longer and longer ones](with_longer_and_longer).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken expectation of a test is a panic"
)]

mod browser;
mod captured;
mod certificates;
mod client;
mod dns;
mod folder;
mod gate;
mod gateway;
mod http2;
mod message;
mod origin;
mod rewritten;
#[cfg(test)]
mod tests;
mod wait;
mod wire;

pub use browser::{Browser, browser_program};
pub use bytes;
pub use certificates::{Certificates, Identity};
pub use client::Client;
pub use dns::{DnsFailure, DnsQuestion, DnsServer, Service};
pub use folder::private_folder;
pub use gate::Gate;
pub use gateway::{Gateway, GatewayBuilder, run_to_exit};
pub use h2;
pub use http;
pub use http2::{Http2Client, Http2Response};
pub use message::{Head, Headers, Request, Response};
pub use origin::{
    Connection, Handshake, Http2Exchange, Origin, OriginBuilder, SilentListener, unused_address, unused_port,
};
pub use rewritten::{
    MAIL_ADDRESS, MALFORMED_EXTENSION, UNKNOWN_CRITICAL_EXTENSION, as_signed_with_md5, as_version_1,
    with_extension, with_unreadable_dates,
};
pub use rustix::process::{Pid, Signal, kill_process};
pub use rustls;
pub use serde_json;
pub use wait::{PATIENCE, wait_for, wait_until, with_longer_and_longer, within};
