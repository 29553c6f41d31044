//! Header maps of the request and the response, of their trailers, and of the response to a call.
//!
//! Pseudo-headers are fields like others here, as in every proxy-wasm host. They come first.

mod change;

use bytes::Bytes;
use change::{Edit, change};
pub(super) use change::{fields, set_pairs};
use http::{HeaderValue, header};
use wasmtime::Caller;

use crate::filter::proxy_wasm::abi::{Answer, MapKind, Status};
use crate::filter::proxy_wasm::host::{CallResponse, Host};
use crate::filter::proxy_wasm::memory::{At, Out, Slice, split};
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Direction, Exchange, field_name};
use crate::http::fields::Fields;

/// The most entries of a map besides its fields: pseudo-headers, and the length of the body.
const BESIDES: usize = 5;

type Pair<'a> = (&'static str, &'a [u8]);

/// A read-only map.
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

    /// Returns the encoded length of all pairs, or 0 if there are none.
    fn length(&self) -> usize {
        if self.count() == 0 { 0 } else { pairs::length(self.pairs()) }
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let besides = self.besides().map(|(name, value)| (name.as_bytes(), value));
        let fields = self.headers.into_iter().flat_map(Fields::iter);
        besides.chain(fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }
}

/// Reads a map. A map that does not exist has no fields.
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
    match host.filter_context() {
        Some(context) => view_in(&context.exchange, kind, read),
        None => read(&empty),
    }
}

/// Reads a map of an exchange. A map that does not exist has no fields.
fn view_in<T>(exchange: &Exchange, kind: MapKind, read: impl FnOnce(&View<'_>) -> T) -> T {
    let empty = View::default();
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

/// Returns the fields of a map of an exchange, pseudo-headers first.
pub(in crate::filter::proxy_wasm) fn pairs_in(exchange: &Exchange, kind: MapKind) -> Vec<(String, Bytes)> {
    let owned = |(name, value): (&[u8], &[u8])| {
        (String::from_utf8_lossy(name).into_owned(), Bytes::copy_from_slice(value))
    };
    view_in(exchange, kind, |view| view.pairs().map(owned).collect())
}

/// Returns the length of a body as a field.
fn length_of(length: Option<&HeaderValue>) -> Option<Pair<'_>> {
    length.map(|length| (header::CONTENT_LENGTH.as_str(), length.as_bytes()))
}

/// Notes in the journal that the guest reads or changes a map.
fn note_use(host: &Host, kind: MapKind) {
    if let (MapKind::Trailers(_), Some(journal)) = (kind, host.log.journal()) {
        journal.uses_bodies();
    }
}

pub(super) fn size(caller: &mut Caller<'_, Host>, kind: MapKind, size_at: At<u32>) -> Answer {
    note_use(caller.data(), kind);
    let length = view(caller.data(), kind, |view| view.length());
    size_at.write_length(caller, length)
}

pub(super) fn pairs_of(caller: &mut Caller<'_, Host>, kind: MapKind, pairs_out: Out) -> Answer {
    note_use(caller.data(), kind);
    let length = view(caller.data(), kind, |view| view.length());
    pairs_out.give_with(caller, length, |host, room| {
        view(host, kind, |view| pairs::write(room, view.count(), || view.pairs()));
    })
}

pub(super) fn value_of(caller: &mut Caller<'_, Host>, kind: MapKind, name: Slice, value_out: Out) -> Answer {
    note_use(caller.data(), kind);
    let (memory, host) = split(caller)?;
    let name = name.of(memory)?;
    let value = view(host, kind, |view| {
        let wanted = if name.eq_ignore_ascii_case(b"host") { b":authority" } else { name };
        match view.besides().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(wanted)) {
            Some((_, value)) => HeaderValue::from_bytes(value).ok(),
            // A copy shares the value's bytes.
            None => field_named(view, name),
        }
    });
    value_out.give(caller, value.ok_or(Status::NotFound)?.as_bytes())
}

pub(super) fn add(caller: &mut Caller<'_, Host>, kind: MapKind, name: Slice, value: Slice) -> Answer {
    change(caller, kind, name, value, Edit::Add)
}

pub(super) fn replace(caller: &mut Caller<'_, Host>, kind: MapKind, name: Slice, value: Slice) -> Answer {
    change(caller, kind, name, value, Edit::Set)
}

pub(super) fn remove(caller: &mut Caller<'_, Host>, kind: MapKind, name: Slice) -> Answer {
    change(caller, kind, name, Slice::EMPTY, Edit::Remove)
}

/// Returns the value of a field. Several lines form one list (RFC 9110 §5.3).
fn field_named(view: &View<'_>, name: &[u8]) -> Option<HeaderValue> {
    let name = field_name(name).ok()?;
    let mut values = view.headers?.get_all(name);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first.clone()) };
    let lines: Vec<&[u8]> = [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
}
