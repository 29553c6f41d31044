//! Traces: the context that requests go on with, and the spans that a receiver of OTLP gets.

mod export;
mod programs;
mod propagation;
mod receiver;
mod spans;
mod wire;

use support::{Gateway, GatewayBuilder};

use self::wire::Span;
use crate::gateway;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The `traceparent` of a caller that records, or does not.
fn context(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// Returns a configuration with these settings of traces and these routes.
fn config(traces: &str, routes: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
telemetry: {{ traces: {traces} }}
{routes}"
    )
}

fn builder(traces: &str, routes: &str) -> GatewayBuilder {
    gateway(config(traces, routes))
}

/// Starts a gateway whose traces go to a receiver, with further settings.
async fn start(receiver: &receiver::Receiver, more: &str, routes: &str) -> Gateway {
    builder(&format!("{{ {}, {more} }}", receiver.settings()), routes).start().await
}

/// Returns routes with one that goes to an upstream.
fn to(url: &str) -> String {
    format!("routes: [{{ name: up, match: {{ prefix: /api }}, upstream: {{ url: '{url}' }} }}]")
}

/// Returns the only span of this name.
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

/// Returns the spans of a kind: 2 for requests, 3 for attempts.
fn of_kind(spans: &[Span], kind: u64) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}
