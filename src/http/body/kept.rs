//! Request bodies that are kept until a response begins, so that a second try can send them again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http_body::Frame;

use super::Body;
use crate::http::error::Error;

/// The memory budget for kept bodies. One count of bytes serves the whole process; each configuration has its own limit.
#[derive(Debug, Clone)]
pub(crate) struct KeptBodies {
    counts: Arc<Counts>,
    /// The largest number of bytes of all kept bodies together (`retry.keep_body_total`).
    bytes_max: u64,
}

/// Counts that are exact for the process. Only requests with a body that may be sent again contribute to them.
#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    refused: AtomicU64,
}

impl KeptBodies {
    /// Creates a budget of `bytes_max` bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { counts: Arc::default(), bytes_max }
    }

    /// Returns the same budget under another limit. Bodies that are already kept still count.
    pub(crate) fn with_limit(&self, bytes_max: u64) -> Self {
        Self { counts: self.counts.clone(), bytes_max }
    }

    /// Returns the number of bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Relaxed)
    }

    /// Returns the number of bodies for which there was no room.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Relaxed)
    }

    fn reserve(&self, bytes: u64) -> bool {
        let more = |kept: u64| kept.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let is_reserved = self.counts.bytes.try_update(Relaxed, Relaxed, more).is_ok();
        if !is_reserved {
            self.counts.refused.fetch_add(1, Relaxed);
        }
        is_reserved
    }
}

/// A route's rules for keeping request bodies.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    pub(crate) bodies: KeptBodies,
    /// The largest number of bytes kept of one body (`retry.keep_body`).
    pub(crate) body_bytes_max: usize,
}

impl Keeping {
    /// Starts to keep `body` as it is read. Returns `None` if there is nothing to read, if the body is in memory
    /// anyway, or if it is too large.
    ///
    /// The result is boxed because few requests keep anything, while every exchange has a field for it.
    pub(crate) fn begin(&self, body: &Body) -> Option<Box<KeptBody>> {
        let is_streamed = matches!(body, Body::Request(_) | Body::Boxed(_));
        (is_streamed && self.fits(body)).then(|| self.buffer())
    }

    /// Returns an empty buffer.
    pub(crate) fn buffer(&self) -> Box<KeptBody> {
        Box::new(KeptBody { keeping: self.clone(), bytes: Vec::new(), reserved: 0 })
    }

    /// Reads a body of a stated length that may be kept, so that it can be sent any number of times. Any other one is returned as it is.
    ///
    /// # Errors
    /// Returns the error of a body that cannot be read.
    pub(crate) async fn whole(&self, mut body: Body) -> Result<Body, Error> {
        if body.size_hint().exact().is_none() {
            return Ok(body);
        }
        let Some(mut kept) = self.begin(&body) else { return Ok(body) };
        while let Some(frame) = body.frame().await.transpose()? {
            if !frame.data_ref().is_some_and(|data| kept.push(data)) {
                // There is no room for it, or it is a trailer section, which cannot be sent again.
                return Ok(kept.resume(Body::begun(frame, body)));
            }
        }
        Ok(Body::full(kept.into_bytes()))
    }

    /// Returns true if the body may be small enough to be kept, as far as its length is known.
    pub(crate) fn fits(&self, body: &Body) -> bool {
        body.size_hint().lower() <= self.body_bytes_max as u64
    }
}

/// The part of a body that has been read so far.
#[derive(Debug)]
pub(crate) struct KeptBody {
    keeping: Keeping,
    bytes: Vec<u8>,
    /// The bytes that there is room for.
    reserved: usize,
}

impl KeptBody {
    /// Appends a copy of `data`: a slice would pin the whole buffer that it was read into. Returns false if the body
    /// can no longer be kept.
    pub(crate) fn push(&mut self, data: &[u8]) -> bool {
        if !self.reserve(self.bytes.len().saturating_add(data.len())) {
            return false;
        }
        self.bytes.reserve_exact(data.len());
        self.bytes.extend_from_slice(data);
        true
    }

    /// Returns true if there is room for so many bytes in all.
    fn reserve(&mut self, length: usize) -> bool {
        let more = length.saturating_sub(self.reserved);
        if length > self.keeping.body_bytes_max || (more > 0 && !self.keeping.bodies.reserve(more as u64)) {
            return false;
        }
        self.reserved += more;
        true
    }

    /// Returns true if the body stays within its own limit with `data`.
    pub(crate) fn has_room_for(&self, data: &[u8]) -> bool {
        data.len() <= self.keeping.body_bytes_max.saturating_sub(self.bytes.len())
    }

    /// Returns the kept bytes. They count until the last reference to them is gone.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Returns the whole body: the kept bytes, followed by `rest`. Their room is free when they have been sent.
    pub(crate) fn resume(self, rest: Body) -> Body {
        if self.bytes.is_empty() {
            return rest;
        }
        Body::begun(Frame::data(self.into_bytes()), rest)
    }
}

impl AsRef<[u8]> for KeptBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        self.keeping.bodies.counts.bytes.fetch_sub(self.reserved as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn keeping(bytes_max: u64, body_bytes_max: usize) -> Keeping {
        Keeping { bodies: KeptBodies::new(bytes_max), body_bytes_max }
    }

    /// Returns a body that counts as streamed.
    fn streamed(text: &'static str) -> Body {
        Body::boxed(super::super::Limited::new(Body::full(text), 1000))
    }

    fn read(mut body: Body) -> String {
        let mut text = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = body.poll_frame(&mut cx) {
            text.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_kept_body_is_whole_again_and_gives_its_room_back() {
        let keeping = keeping(100, 10);
        let mut body = keeping.begin(&streamed("hello")).unwrap();
        assert!(body.push(b"he"));
        assert_eq!(keeping.bodies.bytes(), 2);
        let resumed = body.resume(streamed("llo"));
        assert_eq!(resumed.size_hint().exact(), Some(5));
        assert!(!resumed.is_end_stream());
        assert_eq!(read(resumed), "hello");
        assert_eq!((keeping.bodies.bytes(), keeping.bodies.refused()), (0, 0));
    }

    #[test]
    fn kept_bytes_count_until_their_last_reference_is_gone() {
        let keeping = keeping(100, 10);
        let mut body = keeping.buffer();
        assert!(body.push(b"hello") && body.push(b", you") && !body.has_room_for(b"!"));
        let bytes = body.into_bytes();
        let part = bytes.slice(7..);
        drop(bytes);
        assert_eq!((&part[..], keeping.bodies.bytes()), (&b"you"[..], 10));
        drop(part);
        assert_eq!(keeping.bodies.bytes(), 0);
    }

    #[test]
    fn kept_bodies_stay_within_both_limits() {
        let keeping = keeping(12, 10);
        let (mut one, mut other) =
            (keeping.begin(&streamed("")).unwrap(), keeping.begin(&streamed("")).unwrap());
        assert!(one.push(&[0; 10]));
        assert!(!one.push(&[0; 1]), "larger than a body may be");
        assert_eq!(keeping.bodies.refused(), 0);
        assert!(other.push(&[0; 2]));
        assert!(!other.push(&[0; 1]), "more than all may be");
        assert_eq!((keeping.bodies.bytes(), keeping.bodies.refused()), (12, 1));
        drop(one);
        assert_eq!(keeping.bodies.bytes(), 2);
        drop(other);
        let narrower = keeping.bodies.with_limit(1);
        assert!(narrower.reserve(1) && !keeping.bodies.reserve(12), "both count the same bytes");
    }

    #[tokio::test]
    async fn whole_body_can_be_sent_twice_and_takes_its_room_until_then() {
        let keeping = keeping(8, 6);
        let stated = || Body::boxed(super::super::Limited::new(Body::full("hello!"), 1000));
        let whole = keeping.whole(stated()).await.ok().unwrap();
        let again = whole.replay().unwrap();
        assert_eq!((read(whole), keeping.bodies.bytes()), ("hello!".to_owned(), 6));
        let other = keeping.whole(stated()).await.ok().unwrap();
        assert!(other.replay().is_none(), "there is no room for two");
        assert_eq!((read(other), read(again)), ("hello!".to_owned(), "hello!".to_owned()));
        assert_eq!((keeping.bodies.bytes(), keeping.bodies.refused()), (0, 1));
    }

    #[test]
    fn bodies_in_memory_and_large_ones_are_not_kept() {
        let keeping = keeping(100, 4);
        assert!(keeping.begin(&Body::Empty).is_none());
        assert!(keeping.begin(&Body::full("abc")).is_none());
        assert!(keeping.begin(&streamed("abcde")).is_none());
        assert!(keeping.begin(&streamed("abcd")).is_some());
    }
}
