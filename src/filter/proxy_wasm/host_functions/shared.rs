//! Shared data and shared queues.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use wasmtime::{Caller, Linker};

use crate::filter::proxy_wasm::abi::{Answer, Status, answer};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{give, read, slice, split, write_u32};
use crate::filter::proxy_wasm::shared::{EnqueueError, QueueListener, SetError, cost_of};

/// The longest key, and the longest name of a queue.
const KEY_BYTES_MAX: usize = 4096;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut caller: Caller<'_, Host>, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            answer(get(&mut caller, (key, key_size), (data, size), cas))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut caller: Caller<'_, Host>, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            answer(set(&mut caller, (key, key_size), (data, size), cas))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_register_shared_queue",
        |mut caller: Caller<'_, Host>, name: u32, name_size: u32, at: u32| {
            answer(register(&mut caller, (name, name_size), at))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_resolve_shared_queue",
        |mut caller: Caller<'_, Host>, vm: u32, vm_size: u32, name: u32, name_size: u32, at: u32| {
            answer(resolve(&mut caller, (vm, vm_size), (name, name_size), at))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_enqueue_shared_queue",
        |mut caller: Caller<'_, Host>, queue: u32, data: u32, size: u32| {
            answer(enqueue(&mut caller, queue, (data, size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_dequeue_shared_queue",
        |mut caller: Caller<'_, Host>, queue: u32, data: u32, size: u32| {
            answer(dequeue(&mut caller, queue, (data, size)))
        },
    )?;
    Ok(())
}

fn get(caller: &mut Caller<'_, Host>, key: (u32, u32), (data, size): (u32, u32), cas_at: u32) -> Answer {
    let key = read(caller, key.0, key.1, KEY_BYTES_MAX)?;
    let (value, cas) = caller.data().plugin.vm.get(&key).ok_or(Status::NotFound)?;
    give(caller, &value, data, size)?;
    write_u32(caller, cas_at, cas)
}

fn set(caller: &mut Caller<'_, Host>, key: (u32, u32), (data, size): (u32, u32), cas: u32) -> Answer {
    let key = read(caller, key.0, key.1, KEY_BYTES_MAX)?;
    let (memory, host) = split(caller)?;
    let value = slice(memory, data, size)?;
    let bytes_max = host.plugin.settings.shared_data_bytes_max;
    if value.len() > bytes_max {
        return Err(Status::InternalFailure.into());
    }
    let made = cost_of(key.len(), value.len());
    host.shares(made)?;
    let set = host.plugin.vm.set(&key, Bytes::copy_from_slice(value), cas, bytes_max);
    host.unshares(*set.as_ref().unwrap_or(&made));
    match set {
        Ok(_replaced) => Ok(()),
        Err(SetError::CasMismatch) => Err(Status::CasMismatch.into()),
        Err(SetError::Full) => Err(Status::InternalFailure.into()),
    }
}

fn register(caller: &mut Caller<'_, Host>, name: (u32, u32), at: u32) -> Answer {
    let name = read(caller, name.0, name.1, KEY_BYTES_MAX)?;
    write_u32(caller, at, 0)?;
    let host = caller.data();
    let listener: Weak<dyn QueueListener> = Arc::downgrade(&host.notifier) as Weak<dyn QueueListener>;
    let queue = host.plugin.vm.register_queue(&name, listener).ok_or(Status::InternalFailure)?;
    write_u32(caller, at, queue)
}

fn resolve(caller: &mut Caller<'_, Host>, vm: (u32, u32), name: (u32, u32), at: u32) -> Answer {
    let vm = read(caller, vm.0, vm.1, KEY_BYTES_MAX)?;
    let name = read(caller, name.0, name.1, KEY_BYTES_MAX)?;
    let plugin = &caller.data().plugin;
    // SDKs leave the name out if it is their own.
    let vm =
        if vm.is_empty() { plugin.settings.vm_id.clone() } else { String::from_utf8_lossy(&vm).into_owned() };
    let queue = plugin.services().shared.resolve_queue(&vm, &name).ok_or(Status::NotFound)?;
    write_u32(caller, at, queue)
}

fn enqueue(caller: &mut Caller<'_, Host>, queue: u32, (data, size): (u32, u32)) -> Answer {
    let (memory, host) = split(caller)?;
    let value = slice(memory, data, size)?;
    let bytes_max = host.plugin.settings.shared_data_bytes_max;
    if value.len() > bytes_max {
        return Err(Status::InternalFailure.into());
    }
    let made = cost_of(0, value.len());
    host.shares(made)?;
    let put = host.plugin.services().shared.enqueue(queue, Bytes::copy_from_slice(value), bytes_max);
    let failed = match put {
        Ok(()) => return Ok(()),
        Err(EnqueueError::NotFound) => Status::NotFound,
        Err(EnqueueError::Full) => Status::InternalFailure,
    };
    host.unshares(made);
    Err(failed.into())
}

fn dequeue(caller: &mut Caller<'_, Host>, queue: u32, (data, size): (u32, u32)) -> Answer {
    // Write these first: otherwise an entry could be taken that the guest cannot receive.
    write_u32(caller, data, 0)?;
    write_u32(caller, size, 0)?;
    let taken = caller.data().plugin.services().shared.dequeue(queue).map_err(|_| Status::NotFound)?;
    let taken = taken.ok_or(Status::Empty)?;
    caller.data().unshares(cost_of(0, taken.len()));
    give(caller, &taken, data, size)
}
