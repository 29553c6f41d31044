//! Changes of header maps, and the account of what a filter makes by them.

use std::cell::RefMut;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use wasmtime::Caller;

use super::kind_of;
use crate::filter::proxy_wasm::abi::{Answer, MapKind, Status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Direction, MAP_BYTES_MAX, Part, RequestHead, ResponseHead, field_name, field_value};
use crate::http::fields::Fields;
use crate::http::forward;

/// Fields of one map.
const FIELDS_MAX: usize = 1000;

/// A path and query as a filter may set it.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// A method as a filter may set it.
const METHOD_BYTES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Add,
    Set,
    Remove,
}

/// A map, for changing.
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

    /// Returns the bytes of all that the map holds.
    fn bytes(&self) -> usize {
        let fields = match self {
            Target::Request(head) => &head.headers,
            Target::Response(head) => &head.headers,
            Target::Trailers(fields) => fields,
        };
        self.bytes_besides() + bytes_of(fields)
    }

    /// Returns the bytes of what the map holds besides fields, as far as a filter may make it long.
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

    /// Where the length of the body is written, of a head.
    fn length(&mut self) -> Option<&mut Option<HeaderValue>> {
        match self {
            Target::Request(head) => Some(&mut head.length),
            Target::Response(head) => Some(&mut head.length),
            Target::Trailers(_) => None,
        }
    }
}

/// Bytes that a change has made, and those that the map holds with them.
struct Change {
    made: usize,
    held: usize,
}

/// Returns the part of the account to which what is made in a map belongs.
fn part(kind: MapKind) -> Option<Part> {
    Some(match kind {
        MapKind::Head(Direction::Request) => Part::RequestHead,
        MapKind::Head(Direction::Response) => Part::ResponseHead,
        MapKind::Trailers(Direction::Request) => Part::RequestTrailers,
        MapKind::Trailers(Direction::Response) => Part::ResponseTrailers,
        _ => return None,
    })
}

fn target(host: &Host, kind: MapKind) -> Answer<Target<'_>> {
    // What is not the filter's to look at yet is not its to change: should it fail, the message is as it was.
    let member = host.member().filter(|_| !host.creates_context()).ok_or(Status::BadArgument)?;
    let exchange = &member.exchange;
    let present = |cell| RefMut::filter_map(cell, Option::as_mut).map_err(|_| Status::BadArgument);
    Ok(match kind {
        MapKind::Head(Direction::Request) => Target::Request(exchange.request.borrow_mut()),
        MapKind::Head(Direction::Response) => {
            let head = RefMut::filter_map(exchange.response.borrow_mut(), Option::as_mut);
            Target::Response(head.map_err(|_| Status::BadArgument)?)
        }
        MapKind::Trailers(Direction::Request) => {
            Target::Trailers(present(exchange.request_trailers.borrow_mut())?)
        }
        MapKind::Trailers(Direction::Response) => {
            Target::Trailers(present(exchange.response_trailers.borrow_mut())?)
        }
        // What a call was answered with is there to be read.
        _ => return Err(Status::BadArgument.into()),
    })
}

pub(super) fn change(
    caller: &mut Caller<'_, Host>,
    map: u32,
    (name, name_size): (u32, u32),
    (value, value_size): (u32, u32),
    edit: Edit,
) -> Answer {
    let kind = kind_of(caller.data(), map)?;
    let (memory, host) = split(caller)?;
    let name = slice(memory, name, name_size)?;
    let value = slice(memory, value, value_size)?;
    let mut target = match target(host, kind) {
        // What is not there need not be taken out.
        Err(_) if edit == Edit::Remove => return Ok(()),
        target => target?,
    };
    let change = edit_map(&mut target, name, value, edit)?;
    // The account may end the exchange, so nothing of it is borrowed.
    drop(target);
    account(host, kind, &change)
}

/// Accounts for what the filter has made in a map.
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
        // Shown to the filters behind this one; what is sent is another matter.
        let value = (edit != Edit::Remove).then(|| field_value(value));
        let made = value.as_ref().map_or(0, HeaderValue::len);
        *length = value;
        return Ok(Change { made, held: target.bytes() });
    }
    if let Target::Request(head) = target
        && forward::has_spellings(&name)
        && head.headers.iter().any(|(other, _)| forward::is_spelling_of(other, &name))
    {
        // What a filter says of a field holds for what an upstream may take for it.
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

/// Changes a pseudo-header, if it is one. They can be set, and never be without a value. Returns the bytes that are new, of those
/// that may be long.
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
            // What a request line can hold (RFC 9112 §3.2.1); the gateway looks at the path again as at any other.
            let path = std::str::from_utf8(value).ok().filter(|path| is_target(path)).ok_or(bad)?;
            head.set_path(path.to_owned());
        }
        (Target::Request(head), b":authority") => {
            // What goes upstream as its Host.
            let is_host = std::str::from_utf8(value).is_ok_and(forward::is_authority);
            head.authority = HeaderValue::from_bytes(value).ok().filter(|_| is_host).ok_or(bad)?;
        }
        // How the client came in is not for a filter to say.
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

/// A status that a final response may have, in place of one that is no switch of protocols.
fn status(value: &[u8], before: StatusCode) -> Option<StatusCode> {
    let status =
        StatusCode::from_bytes(value).ok().filter(|status| (200..=599).contains(&status.as_u16()))?;
    (before != StatusCode::SWITCHING_PROTOCOLS).then_some(status)
}

/// Replaces a whole map. Pseudo-headers that are left out stay as they are.
pub(super) fn set_pairs(caller: &mut Caller<'_, Host>, map: u32, data: u32, size: u32) -> Answer {
    let kind = kind_of(caller.data(), map)?;
    let (memory, host) = split(caller)?;
    let bytes = slice(memory, data, size)?;
    if bytes.len() > MAP_BYTES_MAX {
        return Err(Status::BadArgument.into());
    }
    let pairs = pairs::read(bytes).ok_or(Status::BadArgument)?;
    let mut target = target(host, kind)?;
    // All names are looked at before anything is changed.
    let mut fields = fields(&pairs).ok_or(Status::BadArgument)?;
    let mut made = bytes_of(&fields);
    for (name, value) in pairs.iter().filter(|(name, _)| is_pseudo(name)) {
        match change_pseudo(&mut target, name, value, Edit::Set).unwrap_or(Ok(0)) {
            Ok(bytes) => made += bytes,
            Err(status) => {
                // Those before it are changed, and count.
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

/// The fields among pairs; `None` where a name is none, or there are more than a head may have.
pub(in crate::filter::proxy_wasm::host_functions) fn fields(pairs: &[(&[u8], &[u8])]) -> Option<Fields> {
    // A `Fields` that is to hold too many panics.
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
