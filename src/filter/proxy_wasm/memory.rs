//! Access to the memory that a guest's pointers refer to.

use wasmtime::{AsContextMut as _, Caller};

use super::host::Host;
use crate::filter::proxy_wasm::abi::{Answer, Status};

/// Returns the guest's memory and the host's state, both at once.
pub(super) fn split<'a>(caller: &'a mut Caller<'_, Host>) -> Answer<(&'a mut [u8], &'a mut Host)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // A start function calls before the instance exists.
        None => {
            let exported = caller.get_export("memory").and_then(wasmtime::Extern::into_memory);
            exported.ok_or(Status::InvalidMemoryAccess)?
        }
    };
    Ok(memory.data_and_store_mut(caller.as_context_mut()))
}

/// Returns the bytes that a pointer and a length refer to.
pub(super) fn slice(memory: &[u8], pointer: u32, length: u32) -> Answer<&[u8]> {
    let start = usize::try_from(pointer).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    Ok(memory.get(start..end).ok_or(Status::InvalidMemoryAccess)?)
}

/// Returns a copy of the bytes that a pointer and a length refer to, at most `max` of them.
pub(super) fn read(caller: &mut Caller<'_, Host>, pointer: u32, length: u32, max: usize) -> Answer<Vec<u8>> {
    let (memory, _) = split(caller)?;
    let bytes = slice(memory, pointer, length)?;
    if bytes.len() > max { Err(Status::BadArgument.into()) } else { Ok(bytes.to_vec()) }
}

pub(super) fn write(caller: &mut Caller<'_, Host>, pointer: u32, bytes: &[u8]) -> Answer {
    let (memory, _) = split(caller)?;
    let start = usize::try_from(pointer).unwrap_or(usize::MAX);
    let room = memory.get_mut(start..start.saturating_add(bytes.len())).ok_or(Status::InvalidMemoryAccess)?;
    room.copy_from_slice(bytes);
    Ok(())
}

/// Writes a 32-bit number to guest memory.
pub(super) fn write_u32(caller: &mut Caller<'_, Host>, pointer: u32, number: u32) -> Answer {
    write(caller, pointer, &number.to_le_bytes())
}

/// Writes a 64-bit number to guest memory.
pub(super) fn write_u64(caller: &mut Caller<'_, Host>, pointer: u32, number: u64) -> Answer {
    write(caller, pointer, &number.to_le_bytes())
}

/// Copies bytes into memory from the guest's own allocator, or yields a null pointer for no bytes. The pointer and the
/// length are written to `pointer_at` and `length_at`.
pub(super) fn give(caller: &mut Caller<'_, Host>, bytes: &[u8], pointer_at: u32, length_at: u32) -> Answer {
    give_with(caller, bytes.len(), pointer_at, length_at, |_, room| room.copy_from_slice(bytes))
}

/// Does the same as [`give`] for bytes that are produced in place: `fill` gets exactly `length` bytes.
pub(super) fn give_with(
    caller: &mut Caller<'_, Host>,
    length: usize,
    pointer_at: u32,
    length_at: u32,
    fill: impl FnOnce(&mut Host, &mut [u8]),
) -> Answer {
    let length_of_it = u32::try_from(length).map_err(|_| Status::InternalFailure)?;
    // Checked first: otherwise we might allocate guest memory whose address we cannot report.
    write_u32(caller, pointer_at, 0)?;
    write_u32(caller, length_at, 0)?;
    if length == 0 {
        return Ok(());
    }
    // Cloning the function itself would touch the reference count of its type, which all threads share.
    let allocate = caller.data().allocate.clone().ok_or(Status::Unimplemented)?;
    let pointer = allocate.call(caller.as_context_mut(), length_of_it)?;
    if pointer == 0 {
        return Err(Status::InternalFailure.into());
    }
    let (memory, host) = split(caller)?;
    let start = usize::try_from(pointer).unwrap_or(usize::MAX);
    let room = memory.get_mut(start..start.saturating_add(length)).ok_or(Status::InvalidMemoryAccess)?;
    fill(host, room);
    write_u32(caller, pointer_at, pointer)?;
    write_u32(caller, length_at, length_of_it)
}
