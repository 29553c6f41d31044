//! The changes to a message's header fields on its way through the gateway: the rules of RFC 9110 §7.6 and §7.8, and
//! the `X-Forwarded-*` fields. All of them are pure functions on [`Fields`]. Nothing here allocates for a message that
//! has nothing unusual.
//!
//! A request passes through these, in this order: [`request_host`], [`upgrade_requested`], [`remove_hop_by_hop`],
//! [`Forwarding::apply`], [`via()`], [`set_upgrade`]. Fields that the gateway sets come after the removal, so that no
//! `Connection` field can remove them. A response passes through [`clean_response`] and [`via()`], and the trailers of
//! either through [`filter_trailers`].

mod client_origin;
mod forwarded;
mod hop_by_hop;
mod host;
mod response;
mod spellings;
mod trailers;
mod upgrade;
mod via;
mod websocket;

pub(crate) use client_origin::{ClientOrigin, X_FORWARDED_PROTO};
pub(crate) use forwarded::{Forwarding, TrustedProxies};
pub(crate) use hop_by_hop::{hop_by_hop, remove_hop_by_hop, remove_named, replace_hop_by_hop};
pub(crate) use host::{RequestHost, is_authority, parse_authority, request_host};
use http::HeaderName;
pub(crate) use response::clean_response;
pub(crate) use spellings::{has_spellings, is_spelling_of, is_unusual};
pub(crate) use trailers::{drop_unusual_trailers, filter_trailers};
pub(crate) use upgrade::{is_allowed, is_websocket, set_upgrade, upgrade_requested};
pub(crate) use via::via;
pub(crate) use websocket::{WebSocketKey, accept as websocket_accept};

use crate::http::fields::Fields;

/// Returns the members of a field that is a comma-separated list, over all of its lines, without empty ones (RFC 9110
/// §5.6.1). Lines with octets outside of visible ASCII have no members, because no list here can contain them.
pub(crate) fn list_members(headers: &Fields, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    //! Helpers for the tables in the tests of this module's files.
    use http::{HeaderName, HeaderValue};

    use crate::http::fields::Fields;

    /// Parses fields, each written `name: value`.
    pub(super) fn headers(lines: &[&str]) -> Fields {
        let mut headers = Fields::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        headers
    }

    /// Returns fields as [`headers`] takes them, sorted by name. The lines of one name stay in order.
    pub(super) fn lines(headers: &Fields) -> Vec<String> {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<(HeaderName, String)> =
            headers.iter().map(|field| (field.0.clone(), line(field))).collect();
        lines.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        lines.into_iter().map(|(_, line)| line).collect()
    }
}
