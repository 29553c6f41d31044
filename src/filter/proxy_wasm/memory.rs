//! Access to the memory that a guest's pointers refer to.

use std::marker::PhantomData;

use wasmtime::{AsContextMut as _, Caller};

use super::abi::{Answer, Status};
use super::host::Host;

/// A guest that calls a host function.
pub(super) type Guest<'a> = Caller<'a, Host>;

/// Returns the guest's memory and the host's state, both at once.
pub(super) fn split<'a>(caller: &'a mut Guest<'_>) -> Answer<(&'a mut [u8], &'a mut Host)> {
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

/// Bytes of the guest, not yet checked to lie in its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) pointer: u32,
    pub(super) length: u32,
}

impl Slice {
    pub(super) const EMPTY: Self = Self::new(0, 0);

    pub(super) const fn new(pointer: u32, length: u32) -> Self {
        Self { pointer, length }
    }

    /// Returns the bytes.
    pub(super) fn of(self, memory: &[u8]) -> Answer<&[u8]> {
        let start = usize::try_from(self.pointer).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(self.length).unwrap_or(usize::MAX));
        Ok(memory.get(start..end).ok_or(Status::InvalidMemoryAccess)?)
    }

    /// Returns a copy of the bytes, at most `max` of them.
    pub(super) fn copied(self, caller: &mut Guest<'_>, max: usize) -> Answer<Vec<u8>> {
        let (memory, _) = split(caller)?;
        let bytes = self.of(memory)?;
        if bytes.len() > max { Err(Status::BadArgument.into()) } else { Ok(bytes.to_vec()) }
    }
}

pub(super) fn write(caller: &mut Guest<'_>, pointer: u32, bytes: &[u8]) -> Answer {
    let (memory, _) = split(caller)?;
    let start = usize::try_from(pointer).unwrap_or(usize::MAX);
    let room = memory.get_mut(start..start.saturating_add(bytes.len())).ok_or(Status::InvalidMemoryAccess)?;
    room.copy_from_slice(bytes);
    Ok(())
}

/// The place in guest memory for a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<N> {
    pointer: u32,
    number: PhantomData<N>,
}

impl<N> At<N> {
    pub(super) fn new(pointer: u32) -> Self {
        Self { pointer, number: PhantomData }
    }
}

impl At<u32> {
    pub(super) fn write(self, caller: &mut Guest<'_>, number: u32) -> Answer {
        write(caller, self.pointer, &number.to_le_bytes())
    }

    /// Writes a length. One that does not fit becomes the highest number.
    pub(super) fn write_length(self, caller: &mut Guest<'_>, length: usize) -> Answer {
        self.write(caller, u32::try_from(length).unwrap_or(u32::MAX))
    }
}

impl At<u64> {
    pub(super) fn write(self, caller: &mut Guest<'_>, number: u64) -> Answer {
        write(caller, self.pointer, &number.to_le_bytes())
    }
}

/// The places in guest memory for a pointer to bytes and for their length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out {
    pointer_at: At<u32>,
    length_at: At<u32>,
}

impl Out {
    pub(super) fn new(pointer_at: u32, length_at: u32) -> Self {
        Self { pointer_at: At::new(pointer_at), length_at: At::new(length_at) }
    }

    /// Returns true if the guest does not expect the bytes.
    pub(super) fn is_null(self) -> bool {
        self.pointer_at.pointer == 0 || self.length_at.pointer == 0
    }

    /// Writes a null pointer and no length.
    pub(super) fn clear(self, caller: &mut Guest<'_>) -> Answer {
        self.pointer_at.write(caller, 0)?;
        self.length_at.write(caller, 0)
    }

    /// Copies bytes into memory from the guest's own allocator, or yields a null pointer for no bytes.
    pub(super) fn give(self, caller: &mut Guest<'_>, bytes: &[u8]) -> Answer {
        self.give_with(caller, bytes.len(), |_, room| room.copy_from_slice(bytes))
    }

    /// Does the same as [`give`](Self::give) for bytes that are produced in place: `fill` gets exactly `length` bytes.
    pub(super) fn give_with(
        self,
        caller: &mut Guest<'_>,
        length: usize,
        fill: impl FnOnce(&mut Host, &mut [u8]),
    ) -> Answer {
        let length_of_it = u32::try_from(length).map_err(|_| Status::InternalFailure)?;
        // Checked first: otherwise we might allocate guest memory whose address we cannot report.
        self.clear(caller)?;
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
        self.pointer_at.write(caller, pointer)?;
        self.length_at.write(caller, length_of_it)
    }
}
