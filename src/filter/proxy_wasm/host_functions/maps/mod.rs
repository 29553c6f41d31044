//! Header maps of the request and the response, of their trailers, and of the responses to calls.
//!
//! Pseudo-headers are fields like others here, as in every proxy-wasm host. They come first.

mod change;
mod view;

use change::{Edit, change};
pub(super) use change::{fields, set_pairs};
pub(in crate::filter::proxy_wasm) use view::pairs_in;
use view::{View, view_in};
pub(super) use view::{encoded_in, value_in};

use crate::filter::proxy_wasm::abi::{Answer, MapKind, Status};
use crate::filter::proxy_wasm::calls::CallResponse;
use crate::filter::proxy_wasm::grpc_calls::GrpcEvent;
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{At, Guest, Out, Slice, split};
use crate::filter::proxy_wasm::pairs;

/// Reads a map. A map that does not exist has no fields.
fn view<T>(host: &Host, kind: MapKind, read: impl FnOnce(&View<'_>) -> T) -> T {
    let empty = View::default();
    if let Some(CallResponse { status, headers, trailers, .. }) = &host.call_response {
        match kind {
            MapKind::CallResponseHead => return read(&View::with_status(status.as_ref(), headers)),
            MapKind::CallResponseTrailers => return read(&View::of(Some(trailers))),
            _ => {}
        }
    }
    match (kind, &host.grpc.event) {
        (MapKind::GrpcInitialMetadata, Some(GrpcEvent::InitialMetadata(status, fields))) => {
            return read(&View::with_status(Some(status), fields));
        }
        (MapKind::GrpcTrailingMetadata, Some(GrpcEvent::TrailingMetadata(fields))) => {
            return read(&View::of(Some(fields)));
        }
        _ => {}
    }
    match host.filter_context() {
        Some(context) => view_in(&context.exchange, kind, read),
        None => read(&empty),
    }
}

/// Notes in the journal that the guest reads or changes a map.
fn note_use(host: &Host, kind: MapKind) {
    if let (MapKind::Trailers(_), Some(journal)) = (kind, host.log.journal()) {
        journal.uses_bodies();
    }
}

pub(super) fn size(caller: &mut Guest<'_>, kind: MapKind, size_at: At<u32>) -> Answer {
    note_use(caller.data(), kind);
    let length = view(caller.data(), kind, |view| view.length());
    size_at.write_length(caller, length)
}

pub(super) fn pairs_of(caller: &mut Guest<'_>, kind: MapKind, pairs_out: Out) -> Answer {
    note_use(caller.data(), kind);
    let length = view(caller.data(), kind, |view| view.length());
    pairs_out.give_with(caller, length, |host, room| {
        view(host, kind, |view| pairs::write(room, view.count(), || view.pairs()));
    })
}

pub(super) fn value_of(caller: &mut Guest<'_>, kind: MapKind, name: Slice, value_out: Out) -> Answer {
    note_use(caller.data(), kind);
    let (memory, host) = split(caller)?;
    let name = name.of(memory)?;
    let value = view(host, kind, |view| view.value(name));
    value_out.give(caller, value.ok_or(Status::NotFound)?.as_bytes())
}

pub(super) fn add(caller: &mut Guest<'_>, kind: MapKind, name: Slice, value: Slice) -> Answer {
    change(caller, kind, name, value, Edit::Add)
}

pub(super) fn replace(caller: &mut Guest<'_>, kind: MapKind, name: Slice, value: Slice) -> Answer {
    change(caller, kind, name, value, Edit::Set)
}

pub(super) fn remove(caller: &mut Guest<'_>, kind: MapKind, name: Slice) -> Answer {
    change(caller, kind, name, Slice::EMPTY, Edit::Remove)
}
