//! Changes of header maps, and accounting for the bytes that a filter produces by them.

use std::cell::RefMut;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::note_use;
use crate::filter::proxy_wasm::abi::{Answer, MapKind, Status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{Guest, Slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Direction, MAP_BYTES_MAX, Part, RequestHead, ResponseHead, field_name, field_value};
use crate::http::fields::Fields;
use crate::http::forward;

/// The most fields of one map.
const FIELDS_MAX: usize = 1000;

/// The longest path and query that a filter may set.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// The longest method that a filter may set.
const METHOD_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Add,
    Set,
    Remove,
}

/// A mutable map.
enum Target<'a> {
    Request(RefMut<'a, RequestHead>),
    Response(RefMut<'a, ResponseHead>),
    Trailers(RefMut<'a, Fields>),
}

impl Target<'_> {
    fn headers(&mut self) -> &mut Fields {
        match self {
            Target::Request(head) => &mut head.headers,
            Target::Response(head) => &mut head.headers,
            Target::Trailers(headers) => headers,
        }
    }

    /// Returns the number of bytes in the map.
    fn bytes(&self) -> usize {
        let fields = match self {
            Target::Request(head) => &head.headers,
            Target::Response(head) => &head.headers,
            Target::Trailers(fields) => fields,
        };
        self.bytes_besides() + bytes_of(fields)
    }

    /// Returns the bytes of the map outside of fields, counting only parts that a filter can make long.
    fn bytes_besides(&self) -> usize {
        let length = |length: &Option<HeaderValue>| length.as_ref().map_or(0, HeaderValue::len);
        match self {
            Target::Request(head) => {
                head.changed_path().map_or(0, str::len) + head.authority.len() + length(&head.length)
            }
            Target::Response(head) => length(&head.length),
            Target::Trailers(_) => 0,
        }
    }

    /// Returns the slot for the length of the body, if the map is a head.
    fn length(&mut self) -> Option<&mut Option<HeaderValue>> {
        match self {
            Target::Request(head) => Some(&mut head.length),
            Target::Response(head) => Some(&mut head.length),
            Target::Trailers(_) => None,
        }
    }
}

/// The bytes that a change has produced, and the new total of the map.
struct Change {
    made: usize,
    held: usize,
}

/// Returns the part of the account that covers a map.
fn part(kind: MapKind) -> Option<Part> {
    Some(match kind {
        MapKind::Head(direction) => Part::Head(direction),
        MapKind::Trailers(direction) => Part::Trailers(direction),
        _ => return None,
    })
}

fn target(host: &Host, kind: MapKind) -> Answer<Target<'_>> {
    // A filter cannot change what it may not read yet: if it fails, the message must be unchanged.
    let context = host.filter_context().filter(|_| !host.creates_context()).ok_or(Status::BadArgument)?;
    let exchange = &context.exchange;
    Ok(match kind {
        MapKind::Head(Direction::Request) => Target::Request(exchange.request.borrow_mut()),
        MapKind::Head(Direction::Response) => {
            let head = RefMut::filter_map(exchange.response.borrow_mut(), Option::as_mut);
            Target::Response(head.map_err(|_| Status::BadArgument)?)
        }
        MapKind::Trailers(direction) => {
            let trailers = RefMut::filter_map(exchange.trailers.of(direction).borrow_mut(), Option::as_mut);
            Target::Trailers(trailers.map_err(|_| Status::BadArgument)?)
        }
        // The response to a call is read-only.
        _ => return Err(Status::BadArgument.into()),
    })
}

pub(super) fn change(caller: &mut Guest<'_>, kind: MapKind, name: Slice, value: Slice, edit: Edit) -> Answer {
    note_use(caller.data(), kind);
    let (memory, host) = split(caller)?;
    let (name, value) = (name.of(memory)?, value.of(memory)?);
    let mut target = match target(host, kind) {
        // A map that does not exist has nothing to remove.
        Err(_) if edit == Edit::Remove => return Ok(()),
        target => target?,
    };
    let change = edit_map(&mut target, name, value, edit)?;
    // Release the borrow first: accounting may end the exchange.
    drop(target);
    account(host, kind, &change)
}

/// Accounts for the bytes that the filter has produced in a map.
fn account(host: &Host, kind: MapKind, change: &Change) -> Answer {
    host.makes_in(part(kind).ok_or(Status::BadArgument)?, change.made, change.held)
}

/// Changes one field or pseudo-header.
fn edit_map(target: &mut Target<'_>, name: &[u8], value: &[u8], edit: Edit) -> Answer<Change> {
    if value.len() > MAP_BYTES_MAX {
        return Err(Status::BadArgument.into());
    }
    if let Some(changed) = change_pseudo(target, name, value, edit) {
        let made = changed?;
        return Ok(Change { made, held: target.bytes() });
    }
    let name = field_name(name).map_err(|_| Status::BadArgument)?;
    if name == header::CONTENT_LENGTH
        && let Some(length) = target.length()
    {
        // The value is shown to later filters. The length that is sent is derived from the body.
        let value = (edit != Edit::Remove).then(|| field_value(value));
        let made = value.as_ref().map_or(0, HeaderValue::len);
        *length = value;
        return Ok(Change { made, held: target.bytes() });
    }
    if let Target::Request(head) = target
        && forward::has_spellings(&name)
        && head.headers.iter().any(|(other, _)| forward::is_spelling_of(other, &name))
    {
        // A filter's change to a field also applies to other spellings that an upstream may take for that field.
        head.headers.retain(|other, _| !forward::is_spelling_of(other, &name));
    }
    let besides = target.bytes_besides();
    let headers = target.headers();
    if edit == Edit::Remove {
        headers.remove(name);
        return Ok(Change { made: 0, held: besides + bytes_of(headers) });
    }
    let value = field_value(value);
    let made = name.as_str().len() + value.len();
    let (mut bytes, mut replaced) = (made, 0);
    for (other, value) in headers.iter() {
        let field = other.as_str().len() + value.len();
        bytes += field;
        if edit == Edit::Set && *other == name {
            replaced += field;
        }
    }
    if bytes > MAP_BYTES_MAX || headers.len() >= FIELDS_MAX {
        return Err(Status::BadArgument.into());
    }
    put(headers, name, value, edit);
    Ok(Change { made, held: besides + bytes - replaced })
}

/// Returns the bytes of the names and values of these fields.
fn bytes_of(headers: &Fields) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn put(headers: &mut Fields, name: HeaderName, value: HeaderValue, edit: Edit) {
    if edit == Edit::Add {
        headers.append(name, value);
    } else {
        headers.insert(name, value);
    }
}

/// Changes a pseudo-header, if it is one. A pseudo-header can be set but always has a value. Returns the number of new
/// bytes, counting only values that may be long.
fn change_pseudo(
    target: &mut Target<'_>,
    name: &[u8],
    value: &[u8],
    edit: Edit,
) -> Option<Result<usize, Status>> {
    let is_host = name.eq_ignore_ascii_case(b"host") && matches!(target, Target::Request(_));
    if !name.starts_with(b":") && !is_host {
        return None;
    }
    if edit == Edit::Remove {
        return Some(Ok(0));
    }
    let name = if is_host { b":authority" } else { name };
    let made = if matches!(name, b":path" | b":authority") { value.len() } else { 0 };
    Some(set_pseudo(target, name, value).map(|()| made))
}

fn set_pseudo(target: &mut Target<'_>, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let bad = Status::BadArgument;
    match (target, name) {
        (Target::Request(head), b":method") => {
            let method = Method::from_bytes(value).ok().filter(|_| value.len() <= METHOD_BYTES_MAX);
            head.method = method.filter(|method| *method != Method::CONNECT).ok_or(bad)?;
        }
        (Target::Request(head), b":path") => {
            // A request line must be able to hold it (RFC 9112 §3.2.1). The gateway checks the path again like any
            // other.
            let path = std::str::from_utf8(value).ok().filter(|path| is_target(path)).ok_or(bad)?;
            head.set_path(path.to_owned());
        }
        (Target::Request(head), b":authority") => {
            // This becomes the Host that is sent upstream.
            let is_host = std::str::from_utf8(value).is_ok_and(forward::is_authority);
            head.authority = HeaderValue::from_bytes(value).ok().filter(|_| is_host).ok_or(bad)?;
        }
        // A filter cannot change how the client connected.
        (Target::Request(_), b":scheme" | b":protocol") => {}
        (Target::Response(head), b":status") => head.status = status(value, head.status).ok_or(bad)?,
        _ => return Err(bad),
    }
    Ok(())
}

fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Parses a status that is valid for a final response. Returns `None` if the current one switches protocols.
fn status(value: &[u8], before: StatusCode) -> Option<StatusCode> {
    let status =
        StatusCode::from_bytes(value).ok().filter(|status| (200..=599).contains(&status.as_u16()))?;
    (before != StatusCode::SWITCHING_PROTOCOLS).then_some(status)
}

/// Replaces a whole map. Pseudo-headers that are left out stay unchanged.
pub(in crate::filter::proxy_wasm::host_functions) fn set_pairs(
    caller: &mut Guest<'_>,
    kind: MapKind,
    pairs: Slice,
) -> Answer {
    note_use(caller.data(), kind);
    let (memory, host) = split(caller)?;
    let bytes = pairs.of(memory)?;
    if bytes.len() > MAP_BYTES_MAX {
        return Err(Status::BadArgument.into());
    }
    let pairs = pairs::read(bytes).ok_or(Status::BadArgument)?;
    let mut target = target(host, kind)?;
    // Check all names before changing anything.
    let mut fields = fields(&pairs).ok_or(Status::BadArgument)?;
    let mut made = bytes_of(&fields);
    for (name, value) in pairs.iter().filter(|(name, _)| is_pseudo(name)) {
        match change_pseudo(&mut target, name, value, Edit::Set).unwrap_or(Ok(0)) {
            Ok(bytes) => made += bytes,
            Err(status) => {
                // The pseudo-headers before this one have changed, and count.
                let change = Change { made: made - bytes_of(&fields), held: target.bytes() };
                drop(target);
                account(host, kind, &change)?;
                return Err(status.into());
            }
        }
    }
    if let Some(length) = target.length() {
        *length = fields.remove(header::CONTENT_LENGTH);
    }
    target.headers().replace_all(fields);
    let change = Change { made, held: target.bytes() };
    drop(target);
    account(host, kind, &change)
}

fn is_pseudo(name: &[u8]) -> bool {
    name.starts_with(b":") || name.eq_ignore_ascii_case(b"host")
}

/// Returns the fields among pairs, or `None` if a name is invalid or there are more fields than a head may have.
pub(in crate::filter::proxy_wasm::host_functions) fn fields(pairs: &[(&[u8], &[u8])]) -> Option<Fields> {
    // A `Fields` with too much capacity panics.
    if pairs.len() > FIELDS_MAX {
        return None;
    }
    let mut headers = Fields::with_capacity(pairs.len());
    for (name, value) in pairs.iter().filter(|(name, _)| !is_pseudo(name)) {
        headers.append(field_name(name).ok()?, field_value(value));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_a_final_response() {
        let ok = StatusCode::OK;
        for (written, is) in [
            ("200", true),
            ("599", true),
            ("199", false),
            ("101", false),
            ("600", false),
            ("2x0", false),
            ("", false),
        ] {
            assert_eq!(status(written.as_bytes(), ok).is_some(), is, "{written}");
        }
        assert_eq!(status(b"200", StatusCode::SWITCHING_PROTOCOLS), None);
    }

    #[test]
    fn a_path_is_what_a_request_line_can_hold() {
        for (path, is) in [
            ("/", true),
            ("/a?b=c%20", true),
            ("", false),
            ("a", false),
            ("/a b", false),
            ("/a#b", false),
            ("/a\r\n", false),
            ("/ä", false),
        ] {
            assert_eq!(is_target(path), is, "{path:?}");
        }
    }
}
