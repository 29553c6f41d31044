//! The streams of a connection, by number and by key.

use std::collections::VecDeque;

use super::stream::Stream;

/// The number of ended streams that are remembered, to tell a late frame from a wrong one; as many of those that we have reset.
const REMEMBERED: usize = 64;

/// The handle of a stream. It finds nothing once the stream has ended and was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamKey {
    pub(crate) slot: usize,
    pub(crate) id: u32,
}

/// The reason for which a stream is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It was never opened.
    Idle,
    /// We have reset it: frames that were on their way are ignored (RFC 9113 §5.4.2).
    ResetByUs,
    /// The peer has reset it: it must not send on it (RFC 9113 §5.1).
    ResetByPeer,
    /// It has ended in order: the peer must not send on it (RFC 9113 §5.1).
    Ended,
    /// It was skipped, or ended long ago.
    Skipped,
}

/// The streams that are open or held by the application.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<usize>,
    /// Numbers and slots in the order of numbers, which is the order of opening.
    index: VecDeque<(u32, usize)>,
    /// The last streams that have ended or that the peer has reset.
    ended: VecDeque<(u32, Absent)>,
    /// The last streams that we have reset.
    reset: VecDeque<u32>,
    /// The largest number so far.
    last: u32,
}

impl Streams {
    /// Returns the number of streams that are open or held. A stream that the peer has reset counts as long as the
    /// application works for it, so resets make no room for more work.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the number of streams on which either side still sends.
    pub(crate) fn open(&self) -> usize {
        self.slots.iter().flatten().filter(|stream| !stream.is_closed()).count()
    }

    /// Returns the largest number that a stream has had.
    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// Adds a stream, whose number is larger than all before.
    pub(crate) fn add(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        self.last = id;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(place) => *place = Some(stream),
            None => self.slots.push(Some(stream)),
        }
        self.index.push_back((id, slot));
        StreamKey { slot, id }
    }

    /// Notes that a stream was opened and refused.
    pub(crate) fn refuse(&mut self, id: u32) {
        self.last = id;
        self.remember(id, Absent::ResetByUs);
    }

    pub(crate) fn find(&self, id: u32) -> Result<StreamKey, Absent> {
        if let Ok(at) = self.index.binary_search_by_key(&id, |entry| entry.0)
            && let Some(&(id, slot)) = self.index.get(at)
        {
            return Ok(StreamKey { slot, id });
        }
        if id > self.last {
            return Err(Absent::Idle);
        }
        if self.reset.contains(&id) {
            return Err(Absent::ResetByUs);
        }
        let ended = self.ended.iter().rev().find(|ended| ended.0 == id);
        Err(ended.map_or(Absent::Skipped, |ended| ended.1))
    }

    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        self.slots.get(key.slot)?.as_ref().filter(|stream| stream.id == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.slots.get_mut(key.slot)?.as_mut().filter(|stream| stream.id == key.id)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        let streams = self.slots.iter_mut().enumerate();
        streams.filter_map(|(slot, stream)| {
            let stream = stream.as_mut()?;
            Some((StreamKey { slot, id: stream.id }, stream))
        })
    }

    /// Forgets a stream that has ended and that the application has let go.
    pub(crate) fn remove(&mut self, key: StreamKey, how: Absent) {
        let Some(place) =
            self.slots.get_mut(key.slot).filter(|place| place.as_ref().is_some_and(|is| is.id == key.id))
        else {
            return;
        };
        *place = None;
        self.free.push(key.slot);
        if let Ok(at) = self.index.binary_search_by_key(&key.id, |entry| entry.0) {
            self.index.remove(at);
        }
        self.remember(key.id, how);
        if self.index.is_empty() {
            // An idle connection keeps room for one stream.
            self.slots.truncate(1);
            self.slots.shrink_to(1);
            self.free.clear();
            self.free.push(0);
            self.index.shrink_to(1);
        }
    }

    /// Notes how a stream has ended, as a late frame will find it.
    pub(crate) fn remember(&mut self, id: u32, how: Absent) {
        if how == Absent::ResetByUs {
            if self.reset.len() == REMEMBERED {
                self.reset.pop_front();
            }
            return self.reset.push_back(id);
        }
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, how));
    }
}
