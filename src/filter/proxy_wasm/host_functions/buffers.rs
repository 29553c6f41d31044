//! Buffers: bodies, the responses to calls, and the configuration.

use bytes::Bytes;

use crate::filter::SpliceError;
use crate::filter::proxy_wasm::abi::{Answer, BufferKind, Status};
use crate::filter::proxy_wasm::grpc_calls::GrpcEvent;
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{At, Guest, Out, Slice, split};

/// Returns a buffer that is not a body.
fn in_memory(host: &Host, kind: BufferKind) -> Answer<Bytes> {
    Ok(match kind {
        BufferKind::PluginConfiguration => host.plugin.configuration(),
        // A plugin's whole configuration is its own; the virtual machine has none.
        BufferKind::VmConfiguration => Bytes::new(),
        BufferKind::CallResponseBody => {
            host.call_response.as_ref().map(|response| response.body.clone()).ok_or(Status::NotFound)?
        }
        BufferKind::GrpcMessage => match &host.grpc.event {
            Some(GrpcEvent::Message(message)) => message.clone(),
            _ => return Err(Status::NotFound.into()),
        },
        BufferKind::CallData => host.call_data.clone(),
        BufferKind::Body(_) => return Err(Status::NotFound.into()),
    })
}

/// Notes in the journal that the guest reads or changes a buffer.
fn note_use(host: &Host, kind: BufferKind) {
    if let (BufferKind::Body(_), Some(journal)) = (kind, host.log.journal()) {
        journal.uses_bodies();
    }
}

/// Returns the range that a start and a maximum select from `length` bytes.
fn part(length: usize, start: u32, max: u32) -> Answer<std::ops::Range<usize>> {
    // As in other hosts, an overflow is an error, while a range that is too long is clamped.
    start.checked_add(max).ok_or(Status::BadArgument)?;
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let start = number(start).min(length);
    Ok(start..start.saturating_add(number(max)).min(length))
}

pub(super) fn configuration(caller: &mut Guest<'_>, configuration: Out) -> Answer {
    let bytes = caller.data().plugin.configuration();
    configuration.give(caller, &bytes)
}

pub(super) fn get(caller: &mut Guest<'_>, kind: BufferKind, start: u32, max: u32, bytes_out: Out) -> Answer {
    note_use(caller.data(), kind);
    let BufferKind::Body(direction) = kind else {
        let bytes = in_memory(caller.data(), kind)?;
        let part = part(bytes.len(), start, max)?;
        return bytes_out.give(caller, bytes.get(part).unwrap_or_default());
    };
    let context = caller.data().filter_context().cloned().ok_or(Status::NotFound)?;
    let part = part(context.with_buffer(direction, <[u8]>::len), start, max)?;
    bytes_out.give_with(caller, part.len(), |_, room| {
        context.with_buffer(direction, |bytes| {
            // The guest's allocator cannot have changed the body.
            if let Some(bytes) = bytes.get(part).filter(|bytes| bytes.len() == room.len()) {
                room.copy_from_slice(bytes);
            }
        });
    })
}

pub(super) fn status(
    caller: &mut Guest<'_>,
    kind: BufferKind,
    length_at: At<u32>,
    flags_at: At<u32>,
) -> Answer {
    note_use(caller.data(), kind);
    let length = match kind {
        BufferKind::Body(direction) => {
            let context = caller.data().filter_context().ok_or(Status::NotFound)?;
            context.with_buffer(direction, <[u8]>::len)
        }
        _ => in_memory(caller.data(), kind)?.len(),
    };
    length_at.write_length(caller, length)?;
    flags_at.write(caller, 0)
}

pub(super) fn set(caller: &mut Guest<'_>, kind: BufferKind, start: u32, length: u32, data: Slice) -> Answer {
    note_use(caller.data(), kind);
    let BufferKind::Body(direction) = kind else {
        return Err(Status::BadArgument.into());
    };
    let (memory, host) = split(caller)?;
    let data = data.of(memory)?;
    let context = host.filter_context().ok_or(Status::NotFound)?;
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    context.splice(direction, (number(start), number(length)), data, host.shared_bytes()).map_err(|error| {
        match error {
            SpliceError::TooLong => Status::BadArgument.into(),
            SpliceError::Output => host.makes_too_much(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requested_range_is_cut_to_the_buffer() {
        for (start, max, expected) in
            [(0, 99, 0..10), (3, 4, 3..7), (9, u32::MAX - 9, 9..10), (10, 1, 10..10), (99, 1, 10..10)]
        {
            assert_eq!(part(10, start, max).unwrap(), expected);
        }
        assert!(part(10, 1, u32::MAX).is_err());
        assert_eq!(part(10, 0, u32::MAX).unwrap(), 0..10);
    }
}
