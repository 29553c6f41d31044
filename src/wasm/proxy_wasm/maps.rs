//! Header maps: those of the request and the response, of their trailers, and of what a call was answered with.
//!
//! Pseudo-headers are fields like others here, as in every proxy-wasm host; they come first.

use std::cell::RefMut;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use wasmtime::{Caller, Linker};

use super::abi::{Answer, MapKind, Status, answer};
use super::pairs;
use crate::fields::Fields;
use crate::filter::{Direction, MAP_BYTES_MAX, ResponseHead, field_name, field_value};
use crate::forward;
use crate::wasm::host::{CallResponse, Host};
use crate::wasm::memory::{give, give_with, slice, split, write_u32};

/// Fields of one map.
const FIELDS_MAX: usize = 1000;

/// A path and query as a filter may set it.
const PATH_BYTES_MAX: usize = 64 * 1024;

/// A method as a filter may set it.
const METHOD_BYTES_MAX: usize = 64;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_size",
        |mut caller: Caller<'_, Host>, map: u32, at: u32| answer(size(&mut caller, map, at)),
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut caller: Caller<'_, Host>, map: u32, data: u32, size: u32| {
            answer(pairs_of(&mut caller, map, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |mut caller: Caller<'_, Host>, map: u32, data: u32, size: u32| {
            answer(set_pairs(&mut caller, map, data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut caller: Caller<'_, Host>, map: u32, name: u32, name_size: u32, data: u32, size: u32| {
            answer(value_of(&mut caller, map, (name, name_size), data, size))
        },
    )?;
    for (function, edit) in
        [("proxy_add_header_map_value", Edit::Add), ("proxy_replace_header_map_value", Edit::Set)]
    {
        linker.func_wrap(
            "env",
            function,
            move |mut caller: Caller<'_, Host>,
                  map: u32,
                  name: u32,
                  name_size: u32,
                  value: u32,
                  value_size: u32| {
                answer(change(&mut caller, map, (name, name_size), (value, value_size), edit))
            },
        )?;
    }
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut caller: Caller<'_, Host>, map: u32, name: u32, name_size: u32| {
            answer(change(&mut caller, map, (name, name_size), (0, 0), Edit::Remove))
        },
    )?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Add,
    Set,
    Remove,
}

/// What a map has besides its fields: pseudo-headers, and the length of the body.
const BESIDES: usize = 5;

type Pair<'a> = (&'static str, &'a [u8]);

/// A map, for reading.
#[derive(Default)]
struct View<'a> {
    besides: [Option<Pair<'a>>; BESIDES],
    headers: Option<&'a Fields>,
}

impl<'a> View<'a> {
    fn of(headers: Option<&'a Fields>) -> Self {
        Self { headers, ..Self::default() }
    }

    fn besides(&self) -> impl Iterator<Item = Pair<'a>> {
        self.besides.iter().copied().flatten()
    }

    fn count(&self) -> usize {
        self.besides().count() + self.headers.map_or(0, Fields::len)
    }

    /// The bytes that all pairs take; of no pairs there are none.
    fn length(&self) -> usize {
        if self.count() == 0 { 0 } else { pairs::length(self.pairs()) }
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let besides = self.besides().map(|(name, value)| (name.as_bytes(), value));
        let fields = self.headers.into_iter().flat_map(Fields::iter);
        besides.chain(fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }
}

/// Reads a map; one that is not there has no fields.
fn view<T>(host: &Host, kind: MapKind, read: impl FnOnce(&View<'_>) -> T) -> T {
    let empty = View::default();
    if let Some(CallResponse { status, headers, trailers, .. }) = &host.call_response {
        match kind {
            MapKind::CallResponseHead => {
                let status = status.as_ref().map(|status| (":status", status.as_str().as_bytes()));
                return read(&View { besides: [status, None, None, None, None], headers: Some(headers) });
            }
            MapKind::CallResponseTrailers => return read(&View::of(Some(trailers))),
            _ => {}
        }
    }
    let Some(member) = host.member() else { return read(&empty) };
    let exchange = &member.exchange;
    match kind {
        MapKind::Head(Direction::Request) => {
            let head = exchange.request.borrow();
            let besides = [
                Some((":authority", head.authority.as_bytes())),
                Some((":path", head.path().as_bytes())),
                Some((":method", head.method.as_str().as_bytes())),
                Some((":scheme", head.scheme.as_bytes())),
                length_of(head.length.as_ref()),
            ];
            read(&View { besides, headers: Some(&head.headers) })
        }
        MapKind::Head(Direction::Response) => match &*exchange.response.borrow() {
            None => read(&empty),
            Some(head) => {
                let status = Some((":status", head.status.as_str().as_bytes()));
                let besides = [status, length_of(head.length.as_ref()), None, None, None];
                read(&View { besides, headers: Some(&head.headers) })
            }
        },
        MapKind::Trailers(Direction::Request) => read(&View::of(exchange.request_trailers.borrow().as_ref())),
        MapKind::Trailers(Direction::Response) => {
            read(&View::of(exchange.response_trailers.borrow().as_ref()))
        }
        MapKind::CallResponseHead | MapKind::CallResponseTrailers | MapKind::Grpc => read(&empty),
    }
}

/// The length of a body, as if it were a field.
fn length_of(length: Option<&HeaderValue>) -> Option<Pair<'_>> {
    length.map(|length| (header::CONTENT_LENGTH.as_str(), length.as_bytes()))
}

fn kind_of(map: u32) -> Answer<MapKind> {
    Ok(MapKind::from_number(map).ok_or(Status::BadArgument)?)
}

fn size(caller: &mut Caller<'_, Host>, map: u32, at: u32) -> Answer {
    let length = view(caller.data(), kind_of(map)?, |view| view.length());
    write_u32(caller, at, u32::try_from(length).unwrap_or(u32::MAX))
}

fn pairs_of(caller: &mut Caller<'_, Host>, map: u32, data: u32, size: u32) -> Answer {
    let kind = kind_of(map)?;
    let length = view(caller.data(), kind, |view| view.length());
    give_with(caller, length, data, size, |host, room| {
        view(host, kind, |view| pairs::write(room, view.count(), || view.pairs()));
    })
}

fn value_of(
    caller: &mut Caller<'_, Host>,
    map: u32,
    (name, name_size): (u32, u32),
    data: u32,
    size: u32,
) -> Answer {
    let kind = kind_of(map)?;
    let (memory, host) = split(caller)?;
    let name = slice(memory, name, name_size)?;
    let value = view(host, kind, |view| {
        let wanted = if name.eq_ignore_ascii_case(b"host") { b":authority" } else { name };
        match view.besides().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(wanted)) {
            Some((_, value)) => HeaderValue::from_bytes(value).ok(),
            // A copy shares the value's bytes.
            None => field_named(view, name),
        }
    });
    give(caller, value.ok_or(Status::NotFound)?.as_bytes(), data, size)
}

/// The value of a field; several lines are one list (RFC 9110 §5.3).
fn field_named(view: &View<'_>, name: &[u8]) -> Option<HeaderValue> {
    let name = field_name(name).ok()?;
    let mut values = view.headers?.get_all(name);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first.clone()) };
    let lines: Vec<&[u8]> = [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}

/// A map, for changing.
enum Target<'a> {
    Request(RefMut<'a, crate::filter::RequestHead>),
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

    /// Where the length of the body is written, of a head.
    fn length(&mut self) -> Option<&mut Option<HeaderValue>> {
        match self {
            Target::Request(head) => Some(&mut head.length),
            Target::Response(head) => Some(&mut head.length),
            Target::Trailers(_) => None,
        }
    }
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

fn change(
    caller: &mut Caller<'_, Host>,
    map: u32,
    (name, name_size): (u32, u32),
    (value, value_size): (u32, u32),
    edit: Edit,
) -> Answer {
    let kind = kind_of(map)?;
    let (memory, host) = split(caller)?;
    let name = slice(memory, name, name_size)?;
    let value = slice(memory, value, value_size)?;
    let mut target = match target(host, kind) {
        // What is not there need not be taken out.
        Err(_) if edit == Edit::Remove => return Ok(()),
        target => target?,
    };
    if let Some(changed) = change_pseudo(&mut target, name, value, edit) {
        return changed;
    }
    let name = field_name(name).map_err(|_| Status::BadArgument)?;
    if name == header::CONTENT_LENGTH
        && let Some(length) = target.length()
    {
        // Shown to the filters behind this one; what is sent is another matter.
        *length = (edit != Edit::Remove).then(|| field_value(value));
        return Ok(());
    }
    if edit == Edit::Remove {
        target.headers().remove(name);
        return Ok(());
    }
    let value = field_value(value);
    let headers = target.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes + name.as_str().len() + value.len() > MAP_BYTES_MAX || headers.len() >= FIELDS_MAX {
        return Err(Status::BadArgument.into());
    }
    put(headers, name, value, edit);
    Ok(())
}

fn put(headers: &mut Fields, name: HeaderName, value: HeaderValue, edit: Edit) {
    if edit == Edit::Add {
        headers.append(name, value);
    } else {
        headers.insert(name, value);
    }
}

/// Changes a pseudo-header, if it is one. They can be set, and never be without a value.
fn change_pseudo(target: &mut Target<'_>, name: &[u8], value: &[u8], edit: Edit) -> Option<Answer> {
    let is_host = name.eq_ignore_ascii_case(b"host") && matches!(target, Target::Request(_));
    if !name.starts_with(b":") && !is_host {
        return None;
    }
    if edit == Edit::Remove {
        return Some(Ok(()));
    }
    Some(set_pseudo(target, if is_host { b":authority" } else { name }, value).map_err(Into::into))
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
fn set_pairs(caller: &mut Caller<'_, Host>, map: u32, data: u32, size: u32) -> Answer {
    let kind = kind_of(map)?;
    let (memory, host) = split(caller)?;
    let bytes = slice(memory, data, size)?;
    if bytes.len() > MAP_BYTES_MAX {
        return Err(Status::BadArgument.into());
    }
    let pairs = pairs::read(bytes).ok_or(Status::BadArgument)?;
    let mut target = target(host, kind)?;
    // All names are looked at before anything is changed.
    let mut fields = fields(&pairs).ok_or(Status::BadArgument)?;
    for (name, value) in pairs.iter().filter(|(name, _)| is_pseudo(name)) {
        change_pseudo(&mut target, name, value, Edit::Set).unwrap_or(Ok(()))?;
    }
    if let Some(length) = target.length() {
        *length = fields.remove(header::CONTENT_LENGTH);
    }
    *target.headers() = fields;
    Ok(())
}

fn is_pseudo(name: &[u8]) -> bool {
    name.starts_with(b":") || name.eq_ignore_ascii_case(b"host")
}

/// The fields among pairs; `None` where a name is none, or there are more than a head may have.
pub(super) fn fields(pairs: &[(&[u8], &[u8])]) -> Option<Fields> {
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
