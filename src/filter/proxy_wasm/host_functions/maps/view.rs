//! The maps of an exchange, as guests read them.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::filter::proxy_wasm::abi::MapKind;
use crate::filter::proxy_wasm::pairs;
use crate::filter::{Direction, FilteredExchange, field_name};
use crate::http::fields::Fields;

/// The most entries of a map besides its fields: pseudo-headers, and the length of the body.
const BESIDES: usize = 5;

pub(super) type Pair<'a> = (&'static str, &'a [u8]);

/// A read-only map.
#[derive(Default)]
pub(super) struct View<'a> {
    pub(super) besides: [Option<Pair<'a>>; BESIDES],
    pub(super) headers: Option<&'a Fields>,
}

impl<'a> View<'a> {
    pub(super) fn of(headers: Option<&'a Fields>) -> Self {
        Self { headers, ..Self::default() }
    }

    /// Returns the head of a response to a call.
    pub(super) fn with_status(status: Option<&'a StatusCode>, headers: &'a Fields) -> Self {
        let status = status.map(|status| (":status", status.as_str().as_bytes()));
        Self { besides: [status, None, None, None, None], headers: Some(headers) }
    }

    pub(super) fn besides(&self) -> impl Iterator<Item = Pair<'a>> {
        self.besides.iter().copied().flatten()
    }

    pub(super) fn count(&self) -> usize {
        self.besides().count() + self.headers.map_or(0, Fields::len)
    }

    /// Returns the encoded length of all pairs, or 0 if there are none.
    pub(super) fn length(&self) -> usize {
        if self.count() == 0 { 0 } else { pairs::length(self.pairs()) }
    }

    /// Returns the value of a field. Several lines form one list (RFC 9110 §5.3).
    pub(super) fn value(&self, name: &[u8]) -> Option<HeaderValue> {
        let wanted = if name.eq_ignore_ascii_case(b"host") { b":authority" } else { name };
        match self.besides().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(wanted)) {
            Some((_, value)) => HeaderValue::from_bytes(value).ok(),
            // A copy shares the value's bytes.
            None => self.field(name),
        }
    }

    fn field(&self, name: &[u8]) -> Option<HeaderValue> {
        let name = field_name(name).ok()?;
        let mut values = self.headers?.get_all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(first.clone()) };
        let lines: Vec<&[u8]> =
            [first, second].into_iter().chain(values).map(HeaderValue::as_bytes).collect();
        HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let besides = self.besides().map(|(name, value)| (name.as_bytes(), value));
        let fields = self.headers.into_iter().flat_map(Fields::iter);
        besides.chain(fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }
}

/// Reads a map of an exchange. A map that does not exist has no fields.
pub(super) fn view_in<T>(exchange: &FilteredExchange, kind: MapKind, read: impl FnOnce(&View<'_>) -> T) -> T {
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
        MapKind::Trailers(direction) => read(&View::of(exchange.trailers.of(direction).borrow().as_ref())),
        MapKind::CallResponseHead
        | MapKind::CallResponseTrailers
        | MapKind::GrpcInitialMetadata
        | MapKind::GrpcTrailingMetadata => read(&empty),
    }
}

/// Returns the fields of a map of an exchange, pseudo-headers first.
pub(in crate::filter::proxy_wasm) fn pairs_in(
    exchange: &FilteredExchange,
    kind: MapKind,
) -> Vec<(String, Bytes)> {
    let owned = |(name, value): (&[u8], &[u8])| {
        (String::from_utf8_lossy(name).into_owned(), Bytes::copy_from_slice(value))
    };
    view_in(exchange, kind, |view| view.pairs().map(owned).collect())
}

/// Returns a map of an exchange in the encoding for guests, if the map exists.
pub(in crate::filter::proxy_wasm) fn encoded_in(exchange: &FilteredExchange, kind: MapKind) -> Option<Bytes> {
    view_in(exchange, kind, |view| {
        view.headers?;
        let mut bytes = vec![0; pairs::length(view.pairs())];
        pairs::write(&mut bytes, view.count(), || view.pairs());
        Some(bytes.into())
    })
}

/// Returns the value of a field in a map of an exchange.
pub(in crate::filter::proxy_wasm) fn value_in(
    exchange: &FilteredExchange,
    kind: MapKind,
    name: &str,
) -> Option<HeaderValue> {
    view_in(exchange, kind, |view| view.value(name.as_bytes()))
}

/// Returns the length of a body as a field.
fn length_of(length: Option<&HeaderValue>) -> Option<Pair<'_>> {
    length.map(|length| (header::CONTENT_LENGTH.as_str(), length.as_bytes()))
}
