//! The task that serves a stream.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::net::timer::{Stall, Timer};

tokio::task_local! {
    /// The stream that the present task serves.
    pub(super) static STREAM: Rc<StreamTask>;
}

/// A stream as the task that serves it and the body that it sends both see it.
#[derive(Default)]
pub(super) struct StreamTask {
    pub(super) timer: Timer,
    /// The body was asked for data since the task last looked.
    pub(super) moved: Cell<bool>,
    /// The body gave data and was not asked for more: the client has no room.
    pub(super) holds_data: Cell<bool>,
    /// The client took nothing for `timeouts.response_write`.
    pub(super) cut: Cell<bool>,
    /// `timeouts.response_write` as its request found it.
    pub(super) response_write: Cell<Option<Duration>>,
}

/// Runs streams on the worker that their connection is on, and ends those whose client takes nothing. What a client lets
/// pile up in one stream is none of the connection's writes: only here it shows.
#[derive(Clone, Copy)]
pub(super) struct OnThisWorker;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnThisWorker {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(async move {
            let task = Rc::new(StreamTask::default());
            let mut stall = None;
            let mut stream = pin!(STREAM.scope(task.clone(), stream));
            std::future::poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                // Only a stream that has been asked for its data has settled how long it may hold some.
                if task.moved.take() {
                    stall = Some(Stall::new(task.response_write.get()));
                }
                if !task.holds_data.get() {
                    return Poll::Pending;
                }
                let Some(stall) = &mut stall else { return Poll::Pending };
                stall.poll_waiting(cx, &task.timer).map(|()| task.cut.set(true))
            })
            .await;
        });
    }
}
