//! A place for the waker of a task.

use std::task::Waker;

/// Puts the waker into its place. One of the same task is not cloned again.
pub(crate) fn set(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) => known.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}
