//! Admission by the client's address: `allow` and `deny`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::PeerNetwork;
use crate::http::error::Error;

/// The addresses whose requests a route takes. Of the networks that an address is in, the smallest one decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    ipv4: Ranges,
    ipv6: Ranges,
    /// The rule for clients on Unix sockets, which have no address.
    unix: Rule,
}

/// The rule for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allowed,
    /// Refused by the list with this key.
    Refused(&'static str),
}

/// All addresses of a family, cut into ranges with one rule each, in order. A lookup is a binary search, so lists of ten thousand
/// networks cost little more than those of ten.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges(Box<[(u128, Rule)]>);

impl Addresses {
    /// Creates the policy. Where both lists have a network, `deny` decides. An address in no network is refused if there is a list of
    /// allowed ones; with `deny` alone it is allowed.
    pub(crate) fn new(allow: Option<&[PeerNetwork]>, deny: Option<&[PeerNetwork]>) -> Self {
        let otherwise = if allow.is_some() { Rule::Refused("allow") } else { Rule::Allowed };
        let [allow, deny] = [allow, deny].map(Option::unwrap_or_default);
        let rules = || {
            let allow = allow.iter().map(|network| (network, Rule::Allowed));
            // Behind the allowed ones, so that of two equal networks the refused one is painted last.
            allow.chain(deny.iter().map(|network| (network, Rule::Refused("deny"))))
        };
        let networks = rules().filter_map(|(network, rule)| match network {
            PeerNetwork::Network(network) => Some((*network, rule)),
            PeerNetwork::Unix => None,
        });
        let (ipv4, ipv6) = networks.partition(|(network, _)| network.addr().is_ipv4());
        let unix = rules().rfind(|(network, _)| **network == PeerNetwork::Unix);
        Self {
            ipv4: Ranges::new(ipv4, otherwise),
            ipv6: Ranges::new(ipv6, otherwise),
            unix: unix.map_or(otherwise, |(_, rule)| rule),
        }
    }

    /// Admits or refuses a request by the address of its client; `None` for one on a Unix socket. An IPv4 address in its IPv6 form
    /// counts as IPv4.
    pub(crate) fn request(&self, client: Option<IpAddr>) -> Result<(), Error> {
        let rule = match client.map(|client| client.to_canonical()) {
            None => self.unix,
            Some(address @ IpAddr::V4(_)) => self.ipv4.find(bits(address)),
            Some(address @ IpAddr::V6(_)) => self.ipv6.find(bits(address)),
        };
        match rule {
            Rule::Allowed => Ok(()),
            Rule::Refused(key) => Err(Error::Address(key)),
        }
    }
}

impl Ranges {
    /// Cuts the addresses at the borders of the networks. Two networks are disjoint, or one is within the other.
    fn new(mut networks: Vec<(IpNet, Rule)>, otherwise: Rule) -> Self {
        // Outer networks before those within them. The sort is stable, so of equal ones the last one is innermost.
        networks.sort_by_key(|(network, _)| (bits(network.network()), network.prefix_len()));
        let mut ranges = vec![(0, otherwise)];
        // The networks around the present address, each with its last address.
        let mut around: Vec<(u128, Rule)> = Vec::new();
        for (network, rule) in networks {
            let first = bits(network.network());
            close(&mut around, &mut ranges, otherwise, |last| last < first);
            begin(&mut ranges, first, rule);
            around.push((bits(network.broadcast()), rule));
        }
        close(&mut around, &mut ranges, otherwise, |_| true);
        ranges.dedup_by(|next, before| next.1 == before.1);
        Self(ranges.into())
    }

    fn find(&self, address: u128) -> Rule {
        let behind = self.0.partition_point(|(first, _)| *first <= address);
        // The first range begins with the first address.
        behind
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .map_or(Rule::Refused("allow"), |range| range.1)
    }
}

/// Ends the innermost networks for which `is_over` holds of their last address. Behind them the rule of the one around applies.
fn close(
    around: &mut Vec<(u128, Rule)>,
    ranges: &mut Vec<(u128, Rule)>,
    otherwise: Rule,
    is_over: impl Fn(u128) -> bool,
) {
    while let Some((last, _)) = around.pop_if(|(last, _)| is_over(*last)) {
        let rule = around.last().map_or(otherwise, |(_, rule)| *rule);
        if let Some(first) = last.checked_add(1) {
            begin(ranges, first, rule);
        }
    }
}

/// Begins a range. One that begins at the same address gives way.
fn begin(ranges: &mut Vec<(u128, Rule)>, first: u128, rule: Rule) {
    match ranges.last_mut() {
        Some(last) if last.0 == first => last.1 = rule,
        _ => ranges.push((first, rule)),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<PeerNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn outcome(allow: Option<&[&str]>, deny: Option<&[&str]>, client: &str) -> Result<(), &'static str> {
        let [allow, deny] = [allow, deny].map(|list| list.map(networks));
        let addresses = Addresses::new(allow.as_deref(), deny.as_deref());
        addresses.request(client.parse().ok()).map_err(Error::reason)
    }

    #[test]
    fn smallest_network_around_an_address_decides() {
        let allow = Some(&["10.0.0.0/8", "10.6.6.6", "fd00::/8", "::ffff:0:0/96"][..]);
        let deny = Some(&["10.6.0.0/16", "fd00::/16", "0.0.0.0/1"][..]);
        for (client, expected) in [
            ("10.0.0.1", Ok(())),
            ("10.255.255.255", Ok(())),
            ("10.6.0.0", Err("deny")),
            ("10.6.255.255", Err("deny")),
            ("10.7.0.0", Ok(())),
            ("10.6.6.6", Ok(())),
            ("10.6.6.7", Err("deny")),
            ("::ffff:10.6.6.7", Err("deny")),
            ("9.255.255.255", Err("deny")),
            ("11.0.0.0", Err("deny")),
            ("127.255.255.255", Err("deny")),
            ("128.0.0.0", Err("allow")),
            ("255.255.255.255", Err("allow")),
            ("fd00::1", Err("deny")),
            ("fd01::", Ok(())),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Ok(())),
            ("fe00::", Err("allow")),
            ("unix:", Err("allow")),
        ] {
            assert_eq!(outcome(allow, deny, client), expected, "{client}");
        }
    }

    #[test]
    fn addresses_in_no_list_are_allowed_unless_there_is_a_list_of_allowed_ones() {
        let one = Some(&["192.0.2.1"][..]);
        for client in ["192.0.2.2", "2001:db8::1", "unix:"] {
            assert_eq!(outcome(None, one, client), Ok(()));
            assert_eq!(outcome(one, None, client), Err("allow"));
        }
        assert_eq!(outcome(one, one, "192.0.2.1"), Err("deny"));
        assert_eq!(outcome(Some(&["unix"]), None, "unix:"), Ok(()));
        assert_eq!(outcome(Some(&["unix"]), Some(&["unix"]), "unix:"), Err("deny"));
        assert_eq!(outcome(Some(&["0.0.0.0/0"]), None, "255.255.255.255"), Ok(()));
        assert_eq!(outcome(Some(&["::/0"]), None, "192.0.2.1"), Err("allow"));
    }

    proptest! {
        #[test]
        fn ranges_decide_as_a_search_of_the_lists_does(
            lists in prop::collection::vec((any::<bool>(), any::<u8>(), 24..=32u8), 0..12),
            client in any::<u8>(),
        ) {
            let network = |(_, last, length): &(bool, u8, u8)| {
                IpNet::new(IpAddr::from([192, 0, 2, *last]), *length).unwrap().trunc()
            };
            let list = |is_allowed: bool| {
                let list = lists.iter().filter(|entry| entry.0 == is_allowed).map(network);
                list.map(PeerNetwork::Network).collect::<Vec<_>>()
            };
            let client = IpAddr::from([192, 0, 2, client]);
            let around = lists.iter().filter(|entry| network(entry).contains(&client));
            let smallest = around.max_by_key(|entry| (network(entry).prefix_len(), !entry.0));
            let expected = match smallest {
                Some((true, ..)) => Ok(()),
                Some((false, ..)) => Err(Error::Address("deny")),
                None => Err(Error::Address("allow")),
            };
            let addresses = Addresses::new(Some(&list(true)), Some(&list(false)));
            prop_assert_eq!(addresses.request(Some(client)), expected);
        }
    }
}
