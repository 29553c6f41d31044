//! Shared data and shared queues.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::filter::proxy_wasm::abi::{Answer, Status};
use crate::filter::proxy_wasm::memory::{At, Guest, Out, Slice, split};
use crate::filter::proxy_wasm::shared::{EnqueueError, QueueListener, SetError, cost_of};

/// The longest key, and the longest name of a queue.
const KEY_BYTES_MAX: usize = 4096;

pub(super) fn get(caller: &mut Guest<'_>, key: Slice, value_out: Out, cas_at: At<u32>) -> Answer {
    let key = key.copied(caller, KEY_BYTES_MAX)?;
    let (value, cas) = caller.data().plugin.vm.get(&key).ok_or(Status::NotFound)?;
    value_out.give(caller, &value)?;
    cas_at.write(caller, cas)
}

pub(super) fn set(caller: &mut Guest<'_>, key: Slice, value: Slice, cas: u32) -> Answer {
    let key = key.copied(caller, KEY_BYTES_MAX)?;
    let (memory, host) = split(caller)?;
    let value = value.of(memory)?;
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

pub(super) fn register(caller: &mut Guest<'_>, name: Slice, queue_at: At<u32>) -> Answer {
    let name = name.copied(caller, KEY_BYTES_MAX)?;
    queue_at.write(caller, 0)?;
    let host = caller.data();
    let listener: Weak<dyn QueueListener> = Arc::downgrade(&host.notifier) as Weak<dyn QueueListener>;
    let queue = host.plugin.vm.register_queue(&name, listener).ok_or(Status::InternalFailure)?;
    queue_at.write(caller, queue)
}

pub(super) fn resolve(caller: &mut Guest<'_>, vm: Slice, name: Slice, queue_at: At<u32>) -> Answer {
    let vm = vm.copied(caller, KEY_BYTES_MAX)?;
    let name = name.copied(caller, KEY_BYTES_MAX)?;
    let plugin = &caller.data().plugin;
    // SDKs leave the name out if it is their own.
    let vm =
        if vm.is_empty() { plugin.settings.vm_id.clone() } else { String::from_utf8_lossy(&vm).into_owned() };
    let queue = plugin.services().shared.resolve_queue(&vm, &name).ok_or(Status::NotFound)?;
    queue_at.write(caller, queue)
}

pub(super) fn enqueue(caller: &mut Guest<'_>, queue: u32, value: Slice) -> Answer {
    let (memory, host) = split(caller)?;
    let value = value.of(memory)?;
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

pub(super) fn dequeue(caller: &mut Guest<'_>, queue: u32, entry_out: Out) -> Answer {
    // Write to the guest first: otherwise an entry could be taken that the guest cannot receive.
    entry_out.clear(caller)?;
    let taken = caller.data().plugin.services().shared.dequeue(queue).map_err(|_| Status::NotFound)?;
    let taken = taken.ok_or(Status::Empty)?;
    caller.data().unshares(cost_of(0, taken.len()));
    entry_out.give(caller, &taken)
}
