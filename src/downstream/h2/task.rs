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

/// The state that a stream's task and its response body share.
#[derive(Default)]
pub(super) struct StreamTask {
    pub(super) timer: Timer,
    /// True if the body was polled for data since the task's last check.
    pub(super) moved: Cell<bool>,
    /// True if the body gave data and was not polled for more: the client has no room.
    pub(super) holds_data: Cell<bool>,
    /// True if the client took nothing for `timeouts.response_write`.
    pub(super) cut: Cell<bool>,
    /// The value of `timeouts.response_write` when the request began.
    pub(super) response_write: Cell<Option<Duration>>,
}

/// An executor that runs streams on the worker of their connection, and ends those whose client takes nothing. Data
/// that piles up in one stream does not stall the connection's writes, so it only shows here.
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
                // A stream has settled how long it may hold data only once it has been polled for some.
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
