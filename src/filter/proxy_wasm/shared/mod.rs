//! State that all virtual machines of one `vm_id` share across workers: data with compare-and-swap, and queues.
//!
//! A lock is held for a lookup, a change and the copy of a [`Bytes`], which shares its memory. No code outside of this
//! module runs under it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

/// The most queues of one `vm_id`: inventing new names at run time would be a leak.
const QUEUES_MAX: usize = 1024;

/// The longest name of a queue.
const QUEUE_NAME_BYTES_MAX: usize = 1024;

/// The overhead of an entry: many empty ones are not free.
const ENTRY_BYTES: usize = 64;

/// A listener for queue entries: a worker that registered the queue.
pub(crate) trait QueueListener: Send + Sync {
    /// Reports one more entry in `queue`, which may be gone before the listener reacts. The enqueuing worker calls
    /// this, so it must not block.
    fn ready(&self, queue: u32);
}

/// The reason why a value was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetError {
    /// The value was changed meanwhile.
    CasMismatch,
    /// The shared bytes would exceed their limit.
    Full,
}

/// The reason why an entry was not enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnqueueError {
    /// As [`NotFound`].
    NotFound,
    /// The shared bytes would exceed their limit.
    Full,
}

/// The queue does not exist, or no longer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotFound;

/// The shared state of this process, by `vm_id`.
#[derive(Default)]
pub(crate) struct SharedVms {
    vms: Mutex<HashMap<String, Weak<SharedVm>>>,
    queues: Arc<Mutex<QueueIds>>,
}

/// The owner of each queue, by number.
#[derive(Default)]
struct QueueIds {
    last: u32,
    owners: HashMap<u32, Weak<SharedVm>>,
}

/// The state that the virtual machines of one `vm_id` share. It is dropped with its last holder.
pub(crate) struct SharedVm {
    state: Mutex<State>,
    queues: Arc<Mutex<QueueIds>>,
}

#[derive(Default)]
struct State {
    data: HashMap<Bytes, Value>,
    queues: HashMap<u32, Queue>,
    queue_names: HashMap<Bytes, u32>,
    /// Bytes of all keys, values and queue entries, including their overhead.
    bytes: usize,
}

struct Value {
    bytes: Bytes,
    cas: u32,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Bytes>,
    /// Listeners in the order of their turns.
    listeners: VecDeque<Weak<dyn QueueListener>>,
}

impl SharedVms {
    /// Returns the shared state of `id`: the existing one, as long as it has a holder.
    pub(crate) fn vm(&self, id: &str) -> Arc<SharedVm> {
        let mut vms = lock(&self.vms);
        if let Some(vm) = vms.get(id).and_then(Weak::upgrade) {
            return vm;
        }
        vms.retain(|_, vm| vm.strong_count() > 0);
        let vm = Arc::new(SharedVm { state: Mutex::default(), queues: self.queues.clone() });
        vms.insert(id.to_owned(), Arc::downgrade(&vm));
        vm
    }

    /// Returns the queue that a virtual machine of `vm_id` has registered by this name.
    pub(crate) fn resolve_queue(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let vm = lock(&self.vms).get(vm_id).and_then(Weak::upgrade)?;
        lock(&vm.state).queue_names.get(name).copied()
    }

    /// Appends `entry` to a queue of any `vm_id` and notifies one of its listeners, each in its turn. `bytes_max` is
    /// the limit of everything that its virtual machine shares. `entry` should own its memory.
    pub(crate) fn enqueue(&self, queue: u32, entry: Bytes, bytes_max: usize) -> Result<(), EnqueueError> {
        let vm = self.owner(queue).ok_or(EnqueueError::NotFound)?;
        let listener = lock(&vm.state).enqueue(queue, entry, bytes_max)?;
        if let Some(listener) = listener {
            listener.ready(queue);
        }
        Ok(())
    }

    /// Takes the first entry of a queue of any `vm_id`, or returns `None` if it is empty.
    pub(crate) fn dequeue(&self, queue: u32) -> Result<Option<Bytes>, NotFound> {
        let vm = self.owner(queue).ok_or(NotFound)?;
        lock(&vm.state).dequeue(queue)
    }

    /// Returns true if a queue has entries.
    pub(crate) fn has_entries(&self, queue: u32) -> bool {
        let Some(vm) = self.owner(queue) else { return false };
        lock(&vm.state).queues.get(&queue).is_some_and(|queue| !queue.entries.is_empty())
    }

    fn owner(&self, queue: u32) -> Option<Arc<SharedVm>> {
        lock(&self.queues).owners.get(&queue).and_then(Weak::upgrade)
    }
}

impl SharedVm {
    /// Returns a value, and its version for [`SharedVm::set`], which is never 0.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Bytes, u32)> {
        lock(&self.state).data.get(key).map(|value| (value.bytes.clone(), value.cas))
    }

    /// Sets a value if its version is still `cas`; 0 matches any version. A key that does not exist has no version that
    /// could differ. `bytes_max` is the limit of all keys, values and queue entries together, each with 64 bytes of
    /// overhead. `value` should own its memory.
    ///
    /// Returns the [cost](cost_of) of the value that is replaced.
    pub(crate) fn set(
        &self,
        key: &[u8],
        value: Bytes,
        cas: u32,
        bytes_max: usize,
    ) -> Result<usize, SetError> {
        // The replaced value is freed only after the lock is released.
        let replaced = lock(&self.state).set(key, value, cas, bytes_max)?;
        Ok(replaced.map_or(0, |replaced| cost_of(key.len(), replaced.len())))
    }

    /// Returns the number of the queue of this name, which is created if necessary. The number is unique in the
    /// process. `listener` is added to those that are notified of entries, for as long as it lives. Returns `None` if
    /// there are 1024 queues, or if the name has more than 1024 bytes.
    pub(crate) fn register_queue(
        self: &Arc<Self>,
        name: &[u8],
        listener: Weak<dyn QueueListener>,
    ) -> Option<u32> {
        let mut state = lock(&self.state);
        let id = match state.queue_names.get(name) {
            Some(id) => *id,
            None if state.queues.len() >= QUEUES_MAX || name.len() > QUEUE_NAME_BYTES_MAX => return None,
            None => {
                // Lock order: the state first, then the queues, never the other way round.
                let id = lock(&self.queues).assign(self);
                state.queue_names.insert(Bytes::copy_from_slice(name), id);
                id
            }
        };
        let living = listener.upgrade();
        let waiting = state.queues.entry(id).or_default().listen(listener);
        drop(state);
        if let Some(listener) = living {
            (0..waiting).for_each(|_| listener.ready(id));
        }
        Some(id)
    }
}

impl Drop for SharedVm {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut ids = lock(&self.queues);
        for id in state.queues.keys() {
            ids.owners.remove(id);
        }
    }
}

impl QueueIds {
    fn assign(&mut self, owner: &Arc<SharedVm>) -> u32 {
        loop {
            // After four thousand million queues, numbers in use are skipped; 0 is invalid.
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.owners.contains_key(&self.last) {
                self.owners.insert(self.last, Arc::downgrade(owner));
                return self.last;
            }
        }
    }
}

impl State {
    fn set(
        &mut self,
        key: &[u8],
        value: Bytes,
        cas: u32,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, SetError> {
        let before = self.data.get(key);
        if before.is_some_and(|before| cas != 0 && before.cas != cas) {
            return Err(SetError::CasMismatch);
        }
        let freed = before.map_or(0, |before| cost(key.len(), &before.bytes));
        let bytes = self.bytes.saturating_sub(freed).saturating_add(cost(key.len(), &value));
        if bytes > bytes_max {
            return Err(SetError::Full);
        }
        self.bytes = bytes;
        match self.data.get_mut(key) {
            Some(present) => {
                present.cas = present.cas.checked_add(1).unwrap_or(1);
                Ok(Some(std::mem::replace(&mut present.bytes, value)))
            }
            None => {
                self.data.insert(Bytes::copy_from_slice(key), Value { bytes: value, cas: 1 });
                Ok(None)
            }
        }
    }

    /// Returns the next listener in turn, if any is alive.
    fn enqueue(
        &mut self,
        queue: u32,
        entry: Bytes,
        bytes_max: usize,
    ) -> Result<Option<Arc<dyn QueueListener>>, EnqueueError> {
        let queue = self.queues.get_mut(&queue).ok_or(EnqueueError::NotFound)?;
        let bytes = self.bytes.saturating_add(cost(0, &entry));
        if bytes > bytes_max {
            return Err(EnqueueError::Full);
        }
        self.bytes = bytes;
        queue.entries.push_back(entry);
        Ok(queue.next_listener())
    }

    fn dequeue(&mut self, queue: u32) -> Result<Option<Bytes>, NotFound> {
        let entry = self.queues.get_mut(&queue).ok_or(NotFound)?.entries.pop_front();
        let freed = entry.as_ref().map_or(0, |entry| cost(0, entry));
        self.bytes = self.bytes.saturating_sub(freed);
        Ok(entry)
    }
}

impl Queue {
    /// Registers a listener. Returns how many queued entries to announce to it now: all of them if no other listener
    /// has been notified, as after the end of the only one, else none.
    fn listen(&mut self, listener: Weak<dyn QueueListener>) -> usize {
        self.listeners.retain(|known| known.strong_count() > 0);
        let is_first = self.listeners.is_empty();
        if !self.listeners.iter().any(|known| known.ptr_eq(&listener)) {
            self.listeners.push_back(listener);
        }
        if is_first { self.entries.len() } else { 0 }
    }

    fn next_listener(&mut self) -> Option<Arc<dyn QueueListener>> {
        // Drop each listener that is dead.
        while let Some(next) = self.listeners.pop_front() {
            if let Some(living) = next.upgrade() {
                self.listeners.push_back(next);
                return Some(living);
            }
        }
        None
    }
}

fn cost(key_bytes: usize, value: &Bytes) -> usize {
    cost_of(key_bytes, value.len())
}

/// Returns the bytes that a value or a queue entry counts, including its overhead. An entry has no key.
pub(crate) fn cost_of(key_bytes: usize, value_bytes: usize) -> usize {
    key_bytes.saturating_add(value_bytes).saturating_add(ENTRY_BYTES)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
