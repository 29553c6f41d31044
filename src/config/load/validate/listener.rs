//! Checks of listeners: unique names and addresses, and trusted peers for the PROXY protocol.

use std::collections::HashMap;

use super::{Findings, first_with, validate_size};
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::model::listener::Listener;
use crate::config::values::segment::Segment;
use crate::config::{Config, ListenerHttp2, PeerNetwork, ProxyProtocol, SocketAddress};
use crate::path;

/// Checks the listeners and the admin listener.
pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut addresses: HashMap<SocketAddress, usize> = HashMap::new();
    for (&index, listener) in kept.listeners.iter().zip(&config.listeners) {
        let base = path!["listeners", index];
        let address = listener.socket_address();
        // Every use of port 0 takes another port.
        if address.inet().is_none_or(|inet| inet.port() != 0)
            && let Some(first) = first_with(&mut addresses, address.clone(), index)
        {
            let line = findings.line(&path!["listeners", first], &path!["address"]);
            let address = findings.shown(&base, &path!["address"], &address);
            let message = format!("the address `{address}` appears twice");
            findings.add(
                Code::AddressConflict,
                &base,
                &path!["address"],
                message,
                format!("the listener in line {line} has it"),
            );
        } else if let Some(name) = &listener.name
            && let Some(first) = first_with(&mut names, name.as_str(), index)
        {
            let line = findings.line(&path!["listeners", first], &path!["name"]);
            let name = findings.shown(&base, &path!["name"], &name);
            let message = format!("the listener name `{name}` appears twice");
            findings.add(
                Code::DuplicateName,
                &base,
                &path!["name"],
                message,
                format!("the listener in line {line} has it"),
            );
        }
        validate_http2(&listener.http2, &path!["listeners", index, "http2"], findings);
        validate_unix(listener, &base, findings);
        validate_proxy_protocol(listener, config, kept, &base, findings);
    }
    if let Some(admin) = config.admin.as_on() {
        let address = SocketAddress::Inet(admin.address.into());
        if let Some(first) = addresses.get(&address) {
            let line = findings.line(&path!["listeners", *first], &path!["address"]);
            let address = findings.shown(&path!["admin", "address"], &[], &address);
            let message = format!("the address `{address}` appears twice");
            findings.add(
                Code::AddressConflict,
                &path!["admin", "address"],
                &[],
                message,
                format!("the listener in line {line} has it"),
            );
        }
    }
}

/// Checks the keys that only one kind of address has.
fn validate_unix(listener: &Listener, base: &[Segment], findings: &mut Findings<'_>) {
    let SocketAddress::Unix(socket) = listener.socket_address() else {
        if listener.mode.is_some() {
            let help = "take `mode` out, or listen on a Unix socket: `address: unix:/run/gateway.sock`";
            findings.add(
                Code::NoEffect,
                base,
                &path!["mode"],
                "`mode` has no effect: the address is not a Unix socket",
                help,
            );
        }
        return;
    };
    if listener.mode.is_some() && socket.file().is_none() {
        let help = "take `mode` out: every program in the same network namespace may connect";
        findings.add(
            Code::NoEffect,
            base,
            &path!["mode"],
            "`mode` has no effect: an abstract socket has no file",
            help,
        );
    }
    let is_limited = listener.limits.connections_per_client.as_on().is_some();
    if is_limited && listener.proxy_protocol == ProxyProtocol::Off {
        let message = "`connections_per_client` has no effect: clients on a Unix socket have no address";
        let help = "take it out; `connections` limits all clients together";
        findings.add(Code::NoEffect, base, &path!["limits", "connections_per_client"], message, help);
    }
}

fn validate_proxy_protocol(
    listener: &Listener,
    config: &Config,
    kept: &Kept,
    base: &[Segment],
    findings: &mut Findings<'_>,
) {
    if listener.proxy_protocol == ProxyProtocol::Off || kept.trusted_proxies_broken {
        return;
    }
    let is_unix = matches!(listener.socket_address(), SocketAddress::Unix(_));
    let trusted = &config.trusted_proxies;
    if is_unix && !trusted.contains(&PeerNetwork::Unix) {
        let message = "`proxy_protocol: accept` accepts no PROXY header without `unix` in `trusted_proxies`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["proxy_protocol"],
            message,
            "write `trusted_proxies: [unix]`",
        );
    } else if !is_unix && !trusted.iter().any(|proxy| matches!(proxy, PeerNetwork::Network(_))) {
        let message = "`proxy_protocol: accept` accepts no PROXY header without `trusted_proxies`";
        findings.add(
            Code::NoEffect,
            base,
            &path!["proxy_protocol"],
            message,
            "list the networks of your proxies there",
        );
    }
}

fn validate_http2(http2: &ListenerHttp2, base: &[Segment], findings: &mut Findings<'_>) {
    let (stream, connection) = (http2.stream_window, http2.connection_window);
    let windows = ListenerHttp2::WINDOW_MIN..=ListenerHttp2::WINDOW_MAX;
    let of_window = "a client may send 64KiB before it knows of another window";
    let mut are_good = validate_size(stream, windows.clone(), "stream_window", of_window, base, findings);
    are_good &= validate_size(connection, windows, "connection_window", of_window, base, findings);
    if are_good && connection < stream {
        let shown = |key, size| findings.shown(base, &path![key], &size);
        let (of_connection, of_stream) =
            (shown("connection_window", connection), shown("stream_window", stream));
        let message = format!(
            "the `connection_window` of {of_connection} is less than the `stream_window` of {of_stream}"
        );
        // One of them may be the default.
        let is_default = connection == ListenerHttp2::default().connection_window;
        let key = if is_default { "stream_window" } else { "connection_window" };
        findings.add(
            Code::Contradiction,
            base,
            &path![key],
            message,
            "all streams share it: raise it, or lower the other",
        );
    }
    let tables = ListenerHttp2::TABLE_MIN..=ListenerHttp2::TABLE_MAX;
    let of_table = "a client may use 4KiB before it knows of another table";
    validate_size(http2.header_table, tables, "header_table", of_table, base, findings);
}
