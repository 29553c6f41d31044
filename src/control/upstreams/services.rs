//! SRV records (RFC 2782): the addresses of their targets, with priority and weight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::SRV;
use tokio::task::JoinSet;

use super::resolver::{ResolveError, Resolver};
use crate::upstream::NamedAddress;

/// The most targets that are used, those that come first.
const TARGETS_MAX: usize = 256;

/// Resolves the SRV records of a name and then their targets. Returns the addresses, and the time for which they hold.
///
/// While a target cannot be resolved because a server fails, all `known` addresses stay: some of them may be its own. While a family
/// cannot be asked for, those of the family do. A target that does not exist has no address.
pub(super) async fn resolve(
    resolver: &Arc<Resolver>,
    name: &str,
    known: &[NamedAddress],
) -> Result<(Vec<NamedAddress>, Duration), ResolveError> {
    let found = resolver.services(name).await?;
    let lookups = ranked(found.items).into_iter().map(|service| {
        let resolver = resolver.clone();
        async move { (resolver.addresses(&service.target.to_ascii()).await, service) }
    });
    let mut lookups: JoinSet<_> = lookups.collect();
    let (mut addresses, mut ttl) = (Vec::new(), found.ttl);
    let (mut failure, mut unknown, mut is_whole) = (None, Vec::new(), true);
    while let Some(ended) = lookups.join_next().await {
        let Ok((answer, service)) = ended else { continue };
        match answer {
            Ok(answer) => {
                ttl = ttl.min(answer.ttl);
                unknown.extend(answer.unknown);
                addresses.extend(answer.items.into_iter().map(|ip| NamedAddress {
                    socket: SocketAddr::new(ip, service.port),
                    priority: service.priority,
                    weight: service.weight.into(),
                }));
            }
            Err(error) => {
                is_whole &= error.is_certain();
                tracing::debug!(srv = name, "{error}");
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if addresses.is_empty() => Err(error),
        _ => {
            let answered: Vec<SocketAddr> = addresses.iter().map(|address| address.socket).collect();
            let may_be_there = |known: &&NamedAddress| {
                let is_unknown = unknown.iter().any(|family| family.has(known.socket.ip()));
                !answered.contains(&known.socket) && (is_unknown || !is_whole)
            };
            addresses.extend(known.iter().filter(may_be_there));
            Ok((addresses, ttl))
        }
    }
}

/// Returns the services in the order of their priority, with weights for endpoints, which are at least 1: a weight of 0 is for those that
/// get the least (RFC 2782).
fn ranked(mut services: Vec<SRV>) -> Vec<SRV> {
    // The root stands for none.
    services.retain(|service| !service.target.is_root());
    services.sort_by_key(|service| (service.priority, std::cmp::Reverse(service.weight)));
    services.truncate(TARGETS_MAX);
    let is_mixed = services.iter().any(|service| service.weight == 0);
    let weights = || services.iter().map(|service| service.weight).filter(|weight| *weight > 0);
    let (least, most) = (weights().min().unwrap_or(1), weights().max().unwrap_or(1));
    // As far as there is room for it.
    let factor = if is_mixed && most <= u16::MAX / 10 { 10 } else { 1 };
    for service in &mut services {
        service.weight = match service.weight {
            0 => (least * factor / 10).max(1),
            weight => weight * factor,
        };
    }
    services
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    #[test]
    fn services_are_ranked_by_priority_and_a_weight_of_zero_is_the_least() {
        let service = |priority, weight, target: &str| {
            SRV::new(priority, weight, 80, Name::from_ascii(target).unwrap())
        };
        let ranked_of = |services: Vec<SRV>| -> Vec<(u16, u16)> {
            ranked(services).iter().map(|service| (service.priority, service.weight)).collect()
        };
        let some =
            vec![service(20, 1, "c."), service(10, 1, "b."), service(10, 3, "a."), service(10, 3, ".")];
        assert_eq!(ranked_of(some), [(10, 3), (10, 1), (20, 1)]);
        assert_eq!(ranked_of(vec![service(1, 0, "a."), service(1, 2, "b.")]), [(1, 20), (1, 2)]);
        assert_eq!(ranked_of(vec![service(1, 0, "a."), service(1, 0, "b.")]), [(1, 1), (1, 1)]);
    }
}
