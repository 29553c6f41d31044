//! Buffers: bodies, the response to a call, and the configuration.

use bytes::Bytes;
use wasmtime::{Caller, Linker};

use crate::filter::SpliceError;
use crate::filter::proxy_wasm::abi::{Answer, BufferKind, Status, answer};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{give, give_with, slice, split, write_u32};

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut caller: Caller<'_, Host>, buffer: u32, start: u32, max: u32, data: u32, size: u32| {
            answer(get(&mut caller, buffer, (start, max), data, size))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_status",
        |mut caller: Caller<'_, Host>, buffer: u32, length: u32, flags: u32| {
            answer(status(&mut caller, buffer, length, flags))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut caller: Caller<'_, Host>, buffer: u32, start: u32, length: u32, data: u32, size: u32| {
            answer(set(&mut caller, buffer, (start, length), (data, size)))
        },
    )?;
    // ABI 0.1.0.
    linker.func_wrap(
        "env",
        "proxy_get_configuration",
        |mut caller: Caller<'_, Host>, data: u32, size: u32| {
            let configuration = caller.data().plugin.configuration();
            answer(give(&mut caller, &configuration, data, size))
        },
    )?;
    Ok(())
}

/// Returns a buffer that is not a body.
fn in_memory(host: &Host, kind: BufferKind) -> Answer<Bytes> {
    Ok(match kind {
        BufferKind::PluginConfiguration => host.plugin.configuration(),
        // A plugin's whole configuration is its own; the virtual machine has none.
        BufferKind::VmConfiguration => Bytes::new(),
        BufferKind::CallResponseBody => {
            host.call_response.as_ref().map(|response| response.body.clone()).ok_or(Status::NotFound)?
        }
        BufferKind::CallData => host.call_data.clone(),
        BufferKind::Body(_) => return Err(Status::NotFound.into()),
    })
}

/// Returns the kind of a buffer that the guest reads or changes.
fn kind_of(host: &Host, buffer: u32) -> Answer<BufferKind> {
    let kind = BufferKind::from_number(buffer).ok_or(Status::BadArgument)?;
    if let (BufferKind::Body(_), Some(journal)) = (kind, host.log.journal()) {
        journal.uses_bodies();
    }
    Ok(kind)
}

/// Returns the range that a start and a maximum select from `length` bytes.
fn part(length: usize, start: u32, max: u32) -> Answer<std::ops::Range<usize>> {
    // As in other hosts, an overflow is an error, while a range that is too long is clamped.
    start.checked_add(max).ok_or(Status::BadArgument)?;
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let start = number(start).min(length);
    Ok(start..start.saturating_add(number(max)).min(length))
}

fn get(caller: &mut Caller<'_, Host>, buffer: u32, (start, max): (u32, u32), data: u32, size: u32) -> Answer {
    let kind = kind_of(caller.data(), buffer)?;
    let BufferKind::Body(direction) = kind else {
        let bytes = in_memory(caller.data(), kind)?;
        let part = part(bytes.len(), start, max)?;
        return give(caller, bytes.get(part).unwrap_or_default(), data, size);
    };
    let member = caller.data().member().cloned().ok_or(Status::NotFound)?;
    let part = part(member.with_buffer(direction, <[u8]>::len), start, max)?;
    give_with(caller, part.len(), data, size, |_, room| {
        member.with_buffer(direction, |bytes| {
            // The guest's allocator cannot have changed the body.
            if let Some(bytes) = bytes.get(part).filter(|bytes| bytes.len() == room.len()) {
                room.copy_from_slice(bytes);
            }
        });
    })
}

fn status(caller: &mut Caller<'_, Host>, buffer: u32, length_at: u32, flags_at: u32) -> Answer {
    let kind = kind_of(caller.data(), buffer)?;
    let length = match kind {
        BufferKind::Body(direction) => {
            let member = caller.data().member().ok_or(Status::NotFound)?;
            member.with_buffer(direction, <[u8]>::len)
        }
        _ => in_memory(caller.data(), kind)?.len(),
    };
    write_u32(caller, length_at, u32::try_from(length).unwrap_or(u32::MAX))?;
    write_u32(caller, flags_at, 0)
}

fn set(
    caller: &mut Caller<'_, Host>,
    buffer: u32,
    (start, length): (u32, u32),
    (data, size): (u32, u32),
) -> Answer {
    let BufferKind::Body(direction) = kind_of(caller.data(), buffer)? else {
        return Err(Status::BadArgument.into());
    };
    let (memory, host) = split(caller)?;
    let data = slice(memory, data, size)?;
    let member = host.member().ok_or(Status::NotFound)?;
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    member.splice(direction, (number(start), number(length)), data, host.shared_bytes()).map_err(|error| {
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
