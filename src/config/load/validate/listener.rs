//! Checks of listeners: unique names and addresses, and trusted peers for the PROXY protocol.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{Findings, first_with};
use crate::config::load::salvage::Kept;
use crate::config::{Config, ProxyProtocol};
use crate::path;

/// Checks the listeners and the admin listener.
pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut addresses: HashMap<SocketAddr, usize> = HashMap::new();
    for (&index, listener) in kept.listeners.iter().zip(&config.listeners) {
        let base = path!["listeners", index];
        let address = listener.socket_address();
        // Every use of port 0 takes another port.
        if address.port() != 0
            && let Some(first) = first_with(&mut addresses, address, index)
        {
            let line = findings.line(&path!["listeners", first], &path!["address"]);
            let address = findings.shown(&base, &path!["address"], &address);
            let message = format!("the address `{address}` appears twice");
            findings.add(&base, &path!["address"], message, format!("the listener in line {line} has it"));
        } else if let Some(name) = &listener.name
            && let Some(first) = first_with(&mut names, name.as_str(), index)
        {
            let line = findings.line(&path!["listeners", first], &path!["name"]);
            let name = findings.shown(&base, &path!["name"], &name);
            let message = format!("the listener name `{name}` appears twice");
            findings.add(&base, &path!["name"], message, format!("the listener in line {line} has it"));
        }
        let trusts_no_proxy = config.trusted_proxies.is_empty() && !kept.trusted_proxies_broken;
        if listener.proxy_protocol == ProxyProtocol::Accept && trusts_no_proxy {
            let message = "`proxy_protocol: accept` accepts no PROXY header without `trusted_proxies`";
            findings.add(&base, &path!["proxy_protocol"], message, "list the networks of your proxies there");
        }
    }
    if let Some(admin) = config.admin.as_on() {
        let address = SocketAddr::from(admin.address);
        if let Some(first) = addresses.get(&address) {
            let line = findings.line(&path!["listeners", *first], &path!["address"]);
            let address = findings.shown(&path!["admin", "address"], &[], &address);
            let message = format!("the address `{address}` appears twice");
            findings.add(
                &path!["admin", "address"],
                &[],
                message,
                format!("the listener in line {line} has it"),
            );
        }
    }
}
