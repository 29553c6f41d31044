//! Tests of data and queues shared between virtual machines.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const PLENTY: usize = 1 << 20;

/// A listener that counts its notifications.
#[derive(Default)]
struct CountingListener(AtomicU32);

impl QueueListener for CountingListener {
    fn ready(&self, _: u32) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl CountingListener {
    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn weak(listener: &Arc<CountingListener>) -> Weak<dyn QueueListener> {
    let listener: Arc<dyn QueueListener> = listener.clone();
    Arc::downgrade(&listener)
}

/// Returns a listener that no longer exists.
fn dead_listener() -> Weak<dyn QueueListener> {
    weak(&Arc::default())
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_value_is_shared_by_those_of_one_id() {
    let vms = SharedVms::default();
    let (one, same, other) = (vms.vm("a"), vms.vm("a"), vms.vm(""));
    assert_eq!(one.get(b"key"), None);
    one.set(b"key", bytes("value"), 0, PLENTY).unwrap();
    assert_eq!(same.get(b"key"), Some((bytes("value"), 1)));
    assert_eq!(other.get(b"key"), None);
}

#[test]
fn a_value_that_was_changed_meanwhile_is_not_overwritten() {
    let vm = SharedVms::default().vm("a");
    assert_eq!(vm.set(b"k", bytes("1"), 7, PLENTY), Ok(0), "there is nothing that could have changed");
    for (value, cas, result, version) in [
        ("2", 0, Ok(()), 2),
        ("3", 1, Err(SetError::CasMismatch), 2),
        ("3", 2, Ok(()), 3),
        ("4", 2, Err(SetError::CasMismatch), 3),
        ("5", 0, Ok(()), 4),
    ] {
        assert_eq!(vm.set(b"k", bytes(value), cas, PLENTY).map(drop), result, "{value}");
        assert_eq!(vm.get(b"k").unwrap().1, version, "{value}");
    }
    lock(&vm.state).data.get_mut(&b"k"[..]).unwrap().cas = u32::MAX;
    vm.set(b"k", bytes("6"), u32::MAX, PLENTY).unwrap();
    assert_eq!(vm.get(b"k"), Some((bytes("6"), 1)), "0 is no version");
}

#[test]
fn increments_by_several_threads_are_all_counted() {
    let vm = SharedVms::default().vm("a");
    vm.set(b"n", bytes("0"), 0, PLENTY).unwrap();
    let increment = || {
        for _ in 0..200 {
            loop {
                let (value, cas) = vm.get(b"n").unwrap();
                let number: u32 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                if vm.set(b"n", Bytes::from((number + 1).to_string()), cas, PLENTY).is_ok() {
                    break;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(increment);
        }
    });
    assert_eq!(vm.get(b"n"), Some((bytes("800"), 801)));
}

#[test]
fn values_and_entries_together_have_a_limit() {
    let vms = SharedVms::default();
    let vm = vms.vm("a");
    let queue = vm.register_queue(b"q", dead_listener()).unwrap();
    let limit = 2 * (ENTRY_BYTES + 5);
    assert_eq!(vm.set(b"k", bytes("vvvvv"), 0, ENTRY_BYTES + 5), Err(SetError::Full));
    assert_eq!(vm.get(b"k"), None);
    vm.set(b"k", bytes("vvvv"), 0, limit).unwrap();
    vms.enqueue(queue, bytes("eeeee"), limit).unwrap();
    assert_eq!(vms.enqueue(queue, bytes(""), limit), Err(EnqueueError::Full));
    assert_eq!(vm.set(b"k", bytes("vvvvv"), 0, limit), Err(SetError::Full), "one byte more");
    assert_eq!(vm.get(b"k"), Some((bytes("vvvv"), 1)), "it is as it was");
    vm.set(b"k", bytes("v"), 0, limit).unwrap();
    vm.set(b"k", bytes("wwww"), 0, limit).unwrap();
    assert_eq!(vms.dequeue(queue), Ok(Some(bytes("eeeee"))));
    vms.enqueue(queue, bytes("fffff"), limit).unwrap();
    assert_eq!((vms.dequeue(queue), vms.dequeue(queue)), (Ok(Some(bytes("fffff"))), Ok(None)));
    vm.set(b"l", bytes("llll"), 0, limit).unwrap();
    assert_eq!(vm.set(b"", bytes(""), 0, limit), Err(SetError::Full), "not even nothing is for free");
    assert_eq!(lock(&vm.state).bytes, limit);
}

#[test]
fn queues_are_found_by_name_and_first_in_is_first_out() {
    let vms = SharedVms::default();
    let (one, other) = (vms.vm("one"), vms.vm("other"));
    let queue = one.register_queue(b"q", dead_listener()).unwrap();
    assert_eq!(one.register_queue(b"q", dead_listener()), Some(queue));
    let same_name = other.register_queue(b"q", dead_listener()).unwrap();
    let same_owner = one.register_queue(b"r", dead_listener()).unwrap();
    assert!(queue != same_name && queue != same_owner && same_name != same_owner);
    assert_eq!(vms.resolve_queue("one", b"q"), Some(queue));
    assert_eq!(vms.resolve_queue("other", b"q"), Some(same_name));
    assert_eq!(vms.resolve_queue("other", b"r"), None);
    assert_eq!(vms.resolve_queue("third", b"q"), None);
    for entry in ["1", "", "3"] {
        vms.enqueue(queue, bytes(entry), PLENTY).unwrap();
    }
    assert_eq!(vms.dequeue(same_name), Ok(None));
    for entry in [Some("1"), Some(""), Some("3"), None] {
        assert_eq!(vms.dequeue(queue), Ok(entry.map(bytes)));
    }
    assert_eq!(vms.dequeue(0), Err(NotFound));
    assert_eq!(vms.enqueue(99, bytes("x"), PLENTY), Err(EnqueueError::NotFound));
}

#[test]
fn listeners_take_turns_as_long_as_they_live() {
    let vms = SharedVms::default();
    let vm = vms.vm("a");
    let [first, second, third] = [(); 3].map(|()| Arc::<CountingListener>::default());
    let mut queue = 0;
    for listener in [&first, &second, &first, &third] {
        queue = vm.register_queue(b"q", weak(listener)).unwrap();
    }
    let enqueue = |times| (0..times).for_each(|_| vms.enqueue(queue, bytes("x"), PLENTY).unwrap());
    enqueue(4);
    assert_eq!((first.times(), second.times(), third.times()), (2, 1, 1));
    drop(second);
    enqueue(4);
    assert_eq!((first.times(), third.times()), (4, 3));
    drop((first, third));
    enqueue(1);
    assert_eq!(lock(&vm.state).queues[&queue].entries.len(), 9, "entries stay queued without a listener");
    for _ in 0..3 {
        vm.register_queue(b"q", dead_listener());
    }
    assert_eq!(lock(&vm.state).queues[&queue].listeners.len(), 1, "the dead do not add up");
}

#[test]
fn a_queue_listener_is_notified_of_entries_that_the_only_one_before_left() {
    let vms = SharedVms::default();
    let vm = vms.vm("a");
    let first = Arc::<CountingListener>::default();
    let queue = vm.register_queue(b"q", weak(&first)).unwrap();
    for entry in ["1", "2", "3"] {
        vms.enqueue(queue, bytes(entry), PLENTY).unwrap();
    }
    vms.dequeue(queue).unwrap();
    let beside = Arc::<CountingListener>::default();
    vm.register_queue(b"q", weak(&beside)).unwrap();
    assert_eq!((first.times(), beside.times()), (3, 0), "the first still has them to look at");
    drop((first, beside));
    let after = Arc::<CountingListener>::default();
    vm.register_queue(b"q", weak(&after)).unwrap();
    assert_eq!(after.times(), 2);
}

/// A listener that uses the shared state when it is notified.
struct Asks(Arc<SharedVms>, Arc<SharedVm>);

impl QueueListener for Asks {
    fn ready(&self, queue: u32) {
        let entry = self.0.dequeue(queue).unwrap().unwrap();
        self.1.set(b"told", entry, 0, PLENTY).unwrap();
        assert!(self.0.vm("b").register_queue(b"r", dead_listener()).is_some());
    }
}

#[test]
fn a_queue_listener_is_notified_without_holding_a_lock() {
    let vms = Arc::new(SharedVms::default());
    let vm = vms.vm("a");
    let listener: Arc<dyn QueueListener> = Arc::new(Asks(vms.clone(), vm.clone()));
    let queue = vm.register_queue(b"q", Arc::downgrade(&listener)).unwrap();
    vms.enqueue(queue, bytes("entry"), PLENTY).unwrap();
    assert_eq!(vm.get(b"told"), Some((bytes("entry"), 1)));
}

#[test]
fn queues_have_a_limit_in_number_and_name() {
    let vm = SharedVms::default().vm("a");
    for number in 0..QUEUES_MAX {
        assert!(vm.register_queue(number.to_string().as_bytes(), dead_listener()).is_some());
    }
    assert_eq!(vm.register_queue(b"another", dead_listener()), None);
    assert!(vm.register_queue(b"7", dead_listener()).is_some(), "it is there already");
    let other = SharedVms::default().vm("a");
    assert_eq!(other.register_queue(&[b'x'; QUEUE_NAME_BYTES_MAX + 1], dead_listener()), None);
    assert!(other.register_queue(&[b'x'; QUEUE_NAME_BYTES_MAX], dead_listener()).is_some());
}

#[test]
fn a_shared_vm_without_holders_is_removed_with_its_queues() {
    let vms = SharedVms::default();
    let vm = vms.vm("a");
    vm.set(b"k", bytes("v"), 0, PLENTY).unwrap();
    let queue = vm.register_queue(b"q", dead_listener()).unwrap();
    let held = vm.clone();
    drop(vm);
    assert!(vms.vm("a").get(b"k").is_some());
    drop(held);
    assert_eq!(vms.resolve_queue("a", b"q"), None);
    assert_eq!(vms.dequeue(queue), Err(NotFound));
    assert!(lock(&vms.queues).owners.is_empty());
    let other = vms.vm("b");
    assert_eq!(lock(&vms.vms).len(), 1, "the entry is gone, too");
    let again = vms.vm("a");
    assert_eq!(again.get(b"k"), None);
    assert_ne!(again.register_queue(b"q", dead_listener()), Some(queue));
    // The numbers wrap around, however many there were before.
    lock(&vms.queues).last = u32::MAX - 1;
    let next = [b"q", b"r", b"s"].map(|name| other.register_queue(name, dead_listener()).unwrap());
    assert_eq!(next, [u32::MAX, 1, 3], "2 is in use");
}
