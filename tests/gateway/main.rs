//! The one integration binary: a module a topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken expectation of a test is a panic"
)]

mod access_log;
mod active_health;
mod addresses;
mod admin;
mod advice;
mod answers;
mod auth_api_key;
mod auth_basic;
mod auth_forward;
mod auth_jwt;
mod auth_metrics;
mod auth_mtls;
mod auth_oidc;
mod backpressure;
mod balancing;
mod breaker;
mod broken_upstreams;
mod check_diff;
mod check_report;
mod client_addresses;
mod command_line;
mod config;
mod cors;
mod declared;
mod dns;
mod downstream_http2;
mod endpoint_metrics;
mod expectations;
mod failover;
mod filter_actions;
mod filter_answers;
mod filter_auth;
mod filter_bodies;
mod filter_buffers;
mod filter_cache;
mod filter_call_answers;
mod filter_calls;
mod filter_codings;
mod filter_compiler;
mod filter_faults;
mod filter_faults_bodies;
mod filter_fields;
mod filter_framing;
mod filter_grpc_auth;
mod filter_grpc_calls;
mod filter_grpc_streams;
mod filter_host;
mod filter_isolation;
mod filter_local_responses;
mod filter_maps;
mod filter_metrics;
mod filter_order;
mod filter_output;
mod filter_pauses;
mod filter_plugins;
mod filter_pointers;
mod filter_prebuilt;
mod filter_properties;
mod filter_refusals;
mod filter_reload;
mod filter_report;
mod filter_run;
mod filter_run_report;
mod filter_run_upstreams;
mod filter_script;
mod filter_shared;
mod filter_start;
mod filter_stream;
mod filter_streaming;
mod filter_trailers;
mod filter_wasi;
mod filtering;
mod filters;
mod forwarding;
mod generated;
mod grpc;
mod grpc_programs;
mod grpc_upstream;
mod grpc_web;
mod half_close;
mod header_case;
mod health;
mod hedging;
mod http2_clients;
mod http2_conformance;
mod http2_frames;
mod keepalive;
mod kernel_sockets;
mod layering;
mod learned_idle;
mod listener_limits;
mod listener_timeouts;
mod listeners;
mod load;
mod log_lines;
mod max_concurrent;
mod migrating;
mod mirror;
mod new;
mod one_route;
mod page;
mod passive_health;
mod placeholders;
mod pool;
mod pool_history;
mod pool_limits;
mod pooled;
mod programs;
mod prometheus;
mod proxy_protocol;
mod rate_limit;
#[cfg(feature = "redis")]
mod rate_limit_store;
#[cfg(not(feature = "redis"))]
mod rate_limit_without_store;
mod raw_frames;
mod redirect_loops;
mod reload_clients;
mod reload_endpoints;
mod reload_errors;
mod reload_fields;
mod reload_files;
mod reload_http2;
mod reload_in_flight;
mod reload_listener_limits;
mod reload_listeners;
mod reload_many;
mod reload_metrics;
mod reload_named_files;
mod reload_operators;
mod reload_pools;
mod reload_removed_routes;
mod reload_shutdown;
mod reload_triggers;
mod reloading;
mod request_framing;
mod request_id;
mod respond_delay;
mod response_framing;
mod retries;
mod retry_on;
mod rewrite_location;
mod routes;
mod sample;
mod scripted;
mod service;
mod shop;
mod shutdown;
mod signals;
mod spellings;
mod sticky;
mod streaming;
mod stress;
mod syslog_programs;
mod tables;
mod timeouts;
mod top;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(not(feature = "otlp"))]
mod traces_absent;
mod trailers;
mod unix_listener;
mod unix_upstream;
mod upgrades;
mod upstream;
mod upstream_failures;
mod upstream_http2;
mod upstream_http2_frames;
mod upstream_http2_programs;
mod upstream_http2_protocols;
mod upstream_http2_workers;
mod upstream_tls;
mod variables;
mod websocket_http2;
mod websocket_http2_tunnel;
mod websocket_upstream_http2;
mod weighted_split;

use support::{Gateway, GatewayBuilder};

/// The gateway under test with this configuration.
fn gateway(config: impl Into<String>) -> GatewayBuilder {
    Gateway::builder(PROGRAM, config)
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_gateway");
