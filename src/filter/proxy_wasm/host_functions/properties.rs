//! Properties: the facts of an exchange that a filter can read besides its fields, by a path whose parts are separated
//! by NUL.
//!
//! As in other hosts, numbers are 64 bits, little endian; times are nanoseconds since 1970; durations are nanoseconds;
//! a boolean is one byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Version;

use crate::filter::proxy_wasm::abi::{Answer, MapKind, Status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::host_functions::maps::{encoded_in, value_in};
use crate::filter::proxy_wasm::memory::{Guest, Out, Slice, split};
use crate::filter::{Direction, FilteredExchange, Part};
use crate::http::fields::Fields;
use crate::http::grpc::{self, GRPC_STATUS};
use crate::net::tls::{AltName, CertificateNames};
use crate::policy::Identity;

/// The longest path of a property.
const PATH_BYTES_MAX: usize = 1024;

/// The beginning of the paths of what policies have found out. Filters believe it, so none may set it for others.
const OF_POLICIES: &[u8] = b"gateway\0";

/// Envoy keeps what filters set in its filter state, under names that begin with `wasm.`, and filters read it there, too.
const FILTER_STATE: &[u8] = b"filter_state\0wasm.";

pub(super) fn get(caller: &mut Guest<'_>, path: Slice, value_out: Out) -> Answer {
    let path = path.copied(caller, PATH_BYTES_MAX)?;
    let Some(value) = property(caller.data(), &path) else {
        if let Some(journal) = caller.data().log.journal() {
            journal.misses(&path);
        }
        return Err(Status::NotFound.into());
    };
    value_out.give(caller, &value)
}

pub(super) fn set(caller: &mut Guest<'_>, path: Slice, value: Slice) -> Answer {
    let path = path.copied(caller, PATH_BYTES_MAX)?;
    let (memory, host) = split(caller)?;
    let value = value.of(memory)?;
    let context = host.filter_context().ok_or(Status::NotFound)?;
    let is_own = property(host, &path).is_some() && context.exchange.property(&path).is_none();
    if is_own || path.starts_with(OF_POLICIES) {
        // A filter cannot change the gateway's own properties of an exchange.
        return Err(Status::BadArgument.into());
    }
    let held = context.exchange.property_bytes_with(&path, value.len()).ok_or(Status::InternalFailure)?;
    host.makes_in(Part::Properties, path.len() + value.len(), held)?;
    context.exchange.set_property(&path, Bytes::copy_from_slice(value), held);
    Ok(())
}

fn property(host: &Host, path: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
    let settings = &host.plugin.settings;
    match parts[..] {
        // SDKs read these before anything else, and abort if they are missing.
        ["plugin_name"] => return Some(text_of(&settings.name)),
        ["plugin_root_id"] => return Some(text_of(&settings.root_id)),
        ["plugin_vm_id"] => return Some(text_of(&settings.vm_id)),
        ["node", "id" | "cluster"] | ["cluster_metadata" | "listener_direction"] => return Some(Bytes::new()),
        _ => {}
    }
    let exchange = &host.filter_context()?.exchange;
    of_exchange(exchange, &parts)
        .or_else(|| exchange.property(path))
        .or_else(|| exchange.property(path.strip_prefix(FILTER_STATE)?))
}

fn of_exchange(exchange: &FilteredExchange, path: &[&str]) -> Option<Bytes> {
    let request_info = &exchange.request_info;
    match path {
        ["request", rest @ ..] => of_request(exchange, rest),
        ["response", rest @ ..] => of_response(exchange, rest),
        ["source", "address"] => Some(text_of(&request_info.client.to_string())),
        ["source", "port"] => Some(number(request_info.client.inet()?.port().into())),
        ["destination", "address"] => Some(text_of(&request_info.local.to_string())),
        ["destination", "port"] => Some(number(request_info.local.inet()?.port().into())),
        ["connection", "tls"] => Some(truth(request_info.tls)),
        ["connection", "mtls"] => Some(truth(request_info.certificate.is_some())),
        ["connection", name]
            if name.ends_with("_peer_certificate") || name.ends_with("_peer_certificate_digest") =>
        {
            of_certificate(request_info.certificate.as_ref()?.names(), name)
        }
        ["gateway", "identity", rest @ ..] => of_identity(request_info.identity.as_ref()?, rest),
        ["gateway", "request_id"] => {
            Some(Bytes::copy_from_slice(request_info.request_id.as_ref()?.as_bytes()))
        }
        ["connection", "id"] => Some(number(request_info.connection)),
        ["upstream", "address"] => Some(text_of(&exchange.upstream_address()?.to_string())),
        ["upstream", "port"] => Some(number(exchange.upstream_address()?.inet()?.port().into())),
        ["upstream", "url"] => Some(text_of(&exchange.upstream()?)),
        ["cluster_name"] | ["xds", "cluster_name"] => Some(text_of(&exchange.upstream()?)),
        ["route_name"] | ["xds", "route_name"] => Some(text_of(&request_info.route)),
        ["listener_name"] | ["xds", "listener_name"] => Some(text_of(&request_info.listener)),
        _ => None,
    }
}

/// Returns a property of the client's certificate. Of several names of a kind the first one counts.
fn of_certificate(names: &CertificateNames, name: &str) -> Option<Bytes> {
    let first = |is: fn(&AltName) -> bool| {
        let found = names.alt_names.iter().find(|name| is(name))?;
        Some(text_of(&found.to_string()))
    };
    match name {
        "subject_peer_certificate" => Some(text_of(&names.subject)),
        "dns_san_peer_certificate" => first(|name| matches!(name, AltName::Dns(_))),
        "uri_san_peer_certificate" => first(|name| matches!(name, AltName::Uri(_))),
        "sha256_peer_certificate_digest" => Some(text_of(&names.fingerprint)),
        _ => None,
    }
}

/// Returns a property of the caller. A claim is a text in the form in which headers get it; dots lead into objects.
fn of_identity(identity: &Identity, path: &[&str]) -> Option<Bytes> {
    match path {
        ["way"] => Some(text_of(&identity.way)),
        ["subject"] => Some(text_of(&identity.subject)),
        ["claims", name] => Some(text_of(&identity.text(name)?)),
        _ => None,
    }
}

fn of_request(exchange: &FilteredExchange, path: &[&str]) -> Option<Bytes> {
    let head = exchange.request.borrow();
    let end = exchange.end();
    let path_and_query = head.path();
    let (url_path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let line = |name: &str| head.headers.get(name).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    match path {
        ["path"] => Some(text_of(path_and_query)),
        ["url_path"] => Some(text_of(url_path)),
        ["query"] => Some(text_of(query)),
        ["host"] => Some(Bytes::copy_from_slice(head.authority.as_bytes())),
        ["scheme"] => Some(text_of(head.scheme)),
        ["method"] => Some(text_of(head.method.as_str())),
        ["protocol"] => Some(text_of(protocol(exchange.request_info.version))),
        ["referer"] => line("referer"),
        ["useragent"] => line("user-agent"),
        ["id"] => line("x-request-id"),
        ["time"] => Some(time(exchange.started())),
        ["headers"] => encoded_in(exchange, MapKind::Head(Direction::Request)),
        ["headers", name] => field(exchange, MapKind::Head(Direction::Request), name),
        ["duration"] => Some(duration(end?.duration)),
        ["size"] => {
            let length = || head.length.as_ref()?.to_str().ok()?.parse().ok();
            end.map(|end| end.received).or_else(length).map(number)
        }
        ["total_size"] => Some(number(end?.received)),
        _ => None,
    }
}

fn of_response(exchange: &FilteredExchange, path: &[&str]) -> Option<Bytes> {
    let (head, end) = (exchange.response.borrow(), exchange.end());
    match path {
        // The status that the client got, once it is known.
        ["code"] => {
            let status = end.map(|end| u64::from(end.status));
            status.or_else(|| Some(head.as_ref()?.status.as_u16().into())).map(number)
        }
        ["code_details"] => Some(text_of(end?.error.unwrap_or("via_upstream"))),
        ["flags"] => Some(number(0)),
        ["grpc_status"] => {
            let at_end = end.and_then(|end| end.grpc_status);
            let status = at_end.or_else(|| grpc_status(exchange.trailers.response.borrow().as_ref()?));
            status
                .or_else(|| grpc_status(&head.as_ref()?.headers))
                .map(|status| number(status.number().into()))
        }
        ["headers"] => encoded_in(exchange, MapKind::Head(Direction::Response)),
        ["headers", name] => field(exchange, MapKind::Head(Direction::Response), name),
        ["trailers"] => encoded_in(exchange, MapKind::Trailers(Direction::Response)),
        ["trailers", name] => field(exchange, MapKind::Trailers(Direction::Response), name),
        ["size" | "total_size"] => Some(number(end?.sent)),
        _ => None,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn grpc_status(fields: &Fields) -> Option<grpc::Status> {
    grpc::Status::parse(fields.get(GRPC_STATUS)?)
}

fn field(exchange: &FilteredExchange, kind: MapKind, name: &str) -> Option<Bytes> {
    value_in(exchange, kind, name).map(|value| Bytes::copy_from_slice(value.as_bytes()))
}

fn text_of(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn truth(truth: bool) -> Bytes {
    Bytes::copy_from_slice(&[u8::from(truth)])
}

fn time(time: SystemTime) -> Bytes {
    duration(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn duration(duration: Duration) -> Bytes {
    number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
