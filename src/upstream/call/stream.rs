//! Requests of the gateway's own whose bodies stream: the gRPC calls that filters make to upstreams.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;

use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::net::timer::{Stall, Timer};

/// The most pieces that wait in one queue, however small they are.
const PIECES_MAX: usize = 1024;

/// The pieces of a request's body that wait until they are sent. Each has a guard, which is dropped when the connection takes the piece.
pub(crate) struct UploadQueue<G>(Rc<RefCell<Pieces<G>>>);

struct Pieces<G> {
    waiting: VecDeque<(Bytes, G)>,
    bytes: usize,
    bytes_max: usize,
    /// True if nothing follows.
    is_ended: bool,
    /// The task that waits for the next piece.
    waker: Option<Waker>,
    /// The limit of a wait for the next piece, until a response begins.
    wait: Option<(Stall, Timer)>,
}

impl<G> UploadQueue<G> {
    /// Creates a queue that holds `bytes_max` bytes. It always has room for a single piece.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let pieces = Pieces {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            is_ended: false,
            waker: None,
            wait: None,
        };
        Self(Rc::new(RefCell::new(pieces)))
    }

    /// Limits the wait for the next piece until a response begins: an exchange has no limit of its own while its request is sent.
    /// After `idle` the body fails. `timer` is that of the task which reads the body.
    pub(crate) fn limit_wait(&self, idle: Option<Duration>, timer: &Timer) {
        self.0.borrow_mut().wait = Some((Stall::new(idle), timer.clone()));
    }

    /// Removes the limit of the wait. From here on the exchange limits the time in which nothing is sent or received.
    pub(crate) fn response_has_begun(&self) {
        self.0.borrow_mut().wait = None;
    }

    /// Adds a piece to the body. Returns false if the queue is full, or if the body has ended.
    pub(crate) fn push(&self, piece: Bytes, guard: G) -> bool {
        let mut pieces = self.0.borrow_mut();
        let bytes = pieces.bytes.saturating_add(piece.len());
        let is_full =
            !pieces.waiting.is_empty() && (bytes > pieces.bytes_max || pieces.waiting.len() >= PIECES_MAX);
        if is_full || pieces.is_ended {
            return false;
        }
        pieces.bytes = bytes;
        pieces.waiting.push_back((piece, guard));
        pieces.wake();
        true
    }

    /// Ends the body behind the pieces that it has.
    pub(crate) fn end(&self) {
        let mut pieces = self.0.borrow_mut();
        pieces.is_ended = true;
        pieces.wake();
    }
}

impl<G: 'static> UploadQueue<G> {
    /// Returns the request's body.
    pub(crate) fn body(&self) -> Body {
        Body::boxed(self.clone())
    }
}

impl<G> Clone for UploadQueue<G> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<G> Pieces<G> {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<G> Streaming for UploadQueue<G> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let mut pieces = self.0.borrow_mut();
        let Some((piece, guard)) = pieces.waiting.pop_front() else {
            if pieces.is_ended {
                return Poll::Ready(None);
            }
            pieces.waker = Some(cx.waker().clone());
            let Some((stall, timer)) = &mut pieces.wait else { return Poll::Pending };
            return stall.poll_waiting(cx, timer).map(|()| Some(Err(Error::IdleTimeout)));
        };
        pieces.bytes -= piece.len();
        if let Some((stall, _)) = &mut pieces.wait {
            stall.progress();
        }
        drop(pieces);
        drop(guard);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let pieces = self.0.borrow();
        pieces.is_ended && pieces.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &mut Body) -> Poll<Option<Bytes>> {
        let frame = body.poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    #[test]
    fn queue_holds_a_bounded_number_of_bytes_and_pieces() {
        let (queue, guard) = (UploadQueue::new(4), Rc::new(()));
        let mut body = queue.body();
        assert!(take(&mut body).is_pending());
        assert!(queue.push(Bytes::from("large"), guard.clone()), "a single piece always has room");
        assert!(!queue.push(Bytes::from("a"), guard.clone()));
        assert_eq!(take(&mut body), Poll::Ready(Some(Bytes::from("large"))));
        assert_eq!(Rc::strong_count(&guard), 1, "the guard is gone with its piece");
        assert!(queue.push(Bytes::from("ab"), guard.clone()) && queue.push(Bytes::from("cd"), guard.clone()));
        assert!(!queue.push(Bytes::from("e"), guard));
        let many = UploadQueue::new(4);
        assert!((0..PIECES_MAX).all(|_| many.push(Bytes::new(), ())));
        assert!(!many.push(Bytes::new(), ()));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_piece_is_limited_until_the_response_begins() {
        let idle = Duration::from_secs(5);
        let (queue, timer) = (UploadQueue::new(4), Timer::default());
        let mut body = queue.body();
        queue.limit_wait(Some(idle), &timer);
        let sent = async {
            tokio::time::sleep(idle - Duration::from_secs(1)).await;
            assert!(queue.push(Bytes::from("a"), ()));
        };
        let (frame, ()) = tokio::join!(body.frame(), sent);
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "a");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), Error::IdleTimeout);
        queue.response_has_begun();
        let later = tokio::time::timeout(10 * idle, body.frame()).await;
        assert!(later.is_err(), "{later:?}");
    }

    #[test]
    fn ended_queue_takes_nothing_and_passes_what_it_has() {
        let queue = UploadQueue::new(4);
        let mut body = queue.body();
        assert!(queue.push(Bytes::from("a"), ()));
        queue.end();
        assert!(!queue.push(Bytes::from("b"), ()));
        assert!(!body.is_end_stream());
        assert_eq!(take(&mut body), Poll::Ready(Some(Bytes::from("a"))));
        assert!(body.is_end_stream());
        assert_eq!(take(&mut body), Poll::Ready(None));
    }
}
