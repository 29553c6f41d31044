//! Checks for addresses that cannot be bound: two that overlap, and those that no socket can listen on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::Findings;
use crate::config::Config;
use crate::config::load::code::Code;
use crate::config::load::salvage::Kept;
use crate::config::values::segment::Segment;
use crate::path;

/// Checks the addresses of the listeners and the admin listener. [`super::listener`] reports equal ones.
pub(super) fn validate(config: &Config, kept: &Kept, findings: &mut Findings<'_>) {
    let listeners = kept.listeners.iter().zip(&config.listeners);
    // Unix sockets do not overlap.
    let listeners = listeners.filter_map(|(&index, listener)| {
        Some((listener.socket_address().inet()?, path!["listeners", index, "address"].to_vec()))
    });
    let admin = config
        .admin
        .as_on()
        .map(|admin| (SocketAddr::from(admin.address), path!["admin", "address"].to_vec()));
    let addresses: Vec<(SocketAddr, Vec<Segment>)> = listeners.chain(admin).collect();
    for (address, place) in &addresses {
        validate_kind(address, place, findings);
    }
    for (address, place, other) in overlaps(&addresses) {
        let Some((held, held_at)) = addresses.get(other) else { continue };
        let line = findings.line(held_at, &[]);
        let (address, held) = (findings.shown(place, &[], &address), findings.shown(held_at, &[], held));
        let message = format!("the address `{address}` overlaps with `{held}`");
        let help = format!("line {line} has that: write another port, or one of the two alone");
        findings.add(Code::AddressConflict, place, &[], message, help);
    }
}

/// Returns each address that overlaps with an earlier one, and the position of that one.
///
/// The addresses of one port overlap if one of them is the unspecified address of the same family: `0.0.0.0` is every
/// IPv4 address. A socket for IPv6 accepts only IPv6, so `0.0.0.0:80` and `[::]:80` can coexist.
fn overlaps(addresses: &[(SocketAddr, Vec<Segment>)]) -> Vec<(SocketAddr, &[Segment], usize)> {
    /// The first addresses of a port and family.
    struct First {
        of_any: usize,
        of_unspecified: Option<usize>,
    }
    let mut firsts: HashMap<(u16, bool), First> = HashMap::new();
    let mut found = Vec::new();
    // Every use of port 0 takes another port.
    for (index, (address, place)) in
        addresses.iter().enumerate().filter(|(_, (address, _))| address.port() != 0)
    {
        let is_unspecified = address.ip().is_unspecified();
        let first = firsts
            .entry((address.port(), address.is_ipv4()))
            .or_insert(First { of_any: index, of_unspecified: None });
        let other = if is_unspecified { Some(first.of_any) } else { first.of_unspecified };
        let is_other = |other: &usize| addresses.get(*other).is_some_and(|(held, _)| held != address);
        if let Some(other) = other.filter(is_other) {
            found.push((*address, place.as_slice(), other));
        }
        if is_unspecified {
            first.of_unspecified.get_or_insert(index);
        }
    }
    found
}

/// Rejects the addresses that the operating system rejects on every machine.
fn validate_kind(address: &SocketAddr, place: &[Segment], findings: &mut Findings<'_>) {
    let IpAddr::V6(ip) = address.ip() else { return };
    let address = findings.shown(place, &[], address);
    if ip.is_multicast() {
        let message = format!("`{address}` is a multicast address, and no listener can have it");
        findings.add(
            Code::InvalidValue,
            place,
            &[],
            message,
            "write an address of this machine, or `[::]` for all",
        );
    } else if ip.is_unicast_link_local() {
        let message =
            format!("`{address}` is a link-local address, which means nothing without an interface");
        findings.add(
            Code::InvalidValue,
            place,
            &[],
            message,
            "write another address of this machine, or `[::]` for all",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_one_has_all_of_the_other() {
        for (addresses, expected) in [
            ("127.0.0.1:80 0.0.0.0:80", vec![(1, 0)]),
            ("0.0.0.0:80 127.0.0.1:80", vec![(1, 0)]),
            ("[::1]:80 [::]:80", vec![(1, 0)]),
            ("[::]:80 [::1]:80 [2001:db8::1]:80", vec![(1, 0), (2, 0)]),
            ("127.0.0.1:80 127.0.0.2:80 0.0.0.0:80", vec![(2, 0)]),
            ("0.0.0.0:80 [::]:80", vec![]),
            ("127.0.0.1:80 [::]:80", vec![]),
            ("[::1]:80 0.0.0.0:80", vec![]),
            ("127.0.0.1:80 0.0.0.0:81", vec![]),
            ("127.0.0.1:80 127.0.0.2:80", vec![]),
            ("127.0.0.1:0 0.0.0.0:0", vec![]),
            // Equal addresses are reported as such.
            ("0.0.0.0:80 0.0.0.0:80", vec![]),
        ] {
            let parsed: Vec<(SocketAddr, Vec<Segment>)> =
                addresses.split(' ').map(|address| (address.parse().unwrap(), Vec::new())).collect();
            let position =
                |address: &SocketAddr| parsed.iter().rposition(|(other, _)| other == address).unwrap();
            let found: Vec<_> =
                overlaps(&parsed).iter().map(|(address, _, other)| (position(address), *other)).collect();
            assert_eq!(found, expected, "{addresses}");
        }
    }
}
