//! A record of what an instance did, in order: for a trial before it serves, or for a run without a gateway.

mod seen;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub(crate) use seen::{Change, Excerpt, Field, Section, Seen};

use super::played::UpstreamCall;
use crate::filter::{Action, Direction, Fault};

/// The most entries of one kind that are kept: lines, notes, faults, calls to upstreams. A plugin can cause any number
/// of each in a single callback.
const ENTRIES_MAX: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Journal(RefCell<Notes>);

#[derive(Debug, Default)]
struct Notes {
    entries: Vec<Entry>,
    lines: usize,
    notes: usize,
    faults: usize,
    upstream_calls: usize,
    /// The running callback.
    running: Option<Running>,
    /// Properties that the plugin read but that do not exist.
    missed: BTreeSet<String>,
    memory_bytes: usize,
    uses_bodies: bool,
}

#[derive(Debug)]
struct Running {
    /// Its index among the entries.
    index: usize,
    began: Instant,
    before: Option<Seen>,
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A callback. The entries after it are its effects.
    Call(Call),
    /// A line that the plugin wrote.
    Line { level: &'static str, text: String },
    /// The start is complete, and the exchange begins.
    Started,
    /// A call of the plugin to an upstream.
    Upstream(Box<UpstreamCall>),
    /// Something that would be different in a gateway.
    Note(String),
    /// A failure of the plugin.
    Fault { fault: Fault, what: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) callback: &'static str,
    pub(crate) took: Duration,
    /// The part of a message that the callback handled.
    pub(crate) part: Option<Part>,
    /// The content of that part.
    pub(crate) given: Given,
    /// The differences in the exchange since the callback began.
    pub(crate) changes: Vec<Change>,
}

/// The part of a message that a callback handles, as the plugin can read it.
#[derive(Debug, Clone, Default)]
pub(crate) enum Given {
    #[default]
    Nothing,
    Fields(Vec<Field>),
    Body(Excerpt),
}

impl Given {
    fn to(callback: &str, seen: &Seen) -> Self {
        let direction = match callback {
            _ if callback.starts_with("proxy_on_request_") => Direction::Request,
            _ if callback.starts_with("proxy_on_response_") => Direction::Response,
            _ => return Self::Nothing,
        };
        let fields = |section| Self::Fields(seen.fields(section).to_vec());
        match callback {
            _ if callback.ends_with("_headers") => fields(Section::Head(direction)),
            _ if callback.ends_with("_trailers") => fields(Section::Trailers(direction)),
            _ => Self::Body(Excerpt::beginning(seen.body(direction))),
        }
    }
}

/// The parameters of a callback for a part of a message, and the resulting action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The number of fields of a head or of trailers, or of bytes of a body.
    pub(crate) size: u32,
    /// True if nothing follows.
    pub(crate) end: bool,
    pub(crate) action: Action,
}

impl Notes {
    /// Adds an entry, unless there are enough of its kind.
    fn add(&mut self, entry: Entry) {
        let kept = match &entry {
            Entry::Line { .. } => Some(&mut self.lines),
            Entry::Note(_) => Some(&mut self.notes),
            Entry::Fault { .. } => Some(&mut self.faults),
            Entry::Upstream(_) => Some(&mut self.upstream_calls),
            Entry::Call(_) | Entry::Started => None,
        };
        if let Some(kept) = kept {
            if *kept >= ENTRIES_MAX {
                return;
            }
            *kept += 1;
        }
        self.entries.push(entry);
    }
}

impl Journal {
    /// Notes that a callback begins, and that the previous one has ended. `before` is the exchange that it may change.
    pub(crate) fn enters(&self, callback: &'static str, before: Option<Seen>) {
        self.leaves(None, None);
        let notes = &mut *self.0.borrow_mut();
        let given = before.as_ref().map(|seen| Given::to(callback, seen)).unwrap_or_default();
        let call = Call { callback, took: Duration::ZERO, part: None, given, changes: Vec::new() };
        notes.running = Some(Running { index: notes.entries.len(), began: Instant::now(), before });
        notes.entries.push(Entry::Call(call));
    }

    /// Returns true if a callback runs.
    pub(crate) fn is_running(&self) -> bool {
        self.0.borrow().running.is_some()
    }

    /// Notes that the running callback has ended, with the present state of the instance's memory and of the exchange.
    pub(crate) fn leaves(&self, memory_bytes: Option<usize>, after: Option<Seen>) {
        let notes = &mut *self.0.borrow_mut();
        if let Some(Running { index, began, before }) = notes.running.take()
            && let Some(Entry::Call(call)) = notes.entries.get_mut(index)
        {
            call.took = began.elapsed();
            if let (Some(before), Some(after)) = (before, after) {
                call.changes = before.changes_until(&after);
            }
        }
        if let Some(bytes) = memory_bytes {
            notes.memory_bytes = bytes;
        }
    }

    /// Adds the part of a message to the last callback.
    pub(crate) fn was_about(&self, part: Part) {
        let mut notes = self.0.borrow_mut();
        let calls = notes.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Call(call) => Some(call),
            _ => None,
        });
        if let Some(call) = calls {
            call.part = Some(part);
        }
    }

    /// Notes a line that the plugin writes.
    pub(crate) fn line(&self, level: &'static str, text: String) {
        self.0.borrow_mut().add(Entry::Line { level, text });
    }

    /// Notes that the plugin is ready.
    pub(crate) fn started(&self) {
        self.0.borrow_mut().add(Entry::Started);
    }

    /// Notes a call to an upstream.
    pub(crate) fn calls(&self, call: UpstreamCall) {
        self.0.borrow_mut().add(Entry::Upstream(Box::new(call)));
    }

    /// Notes that a property was read that does not exist, once for each property.
    pub(crate) fn misses(&self, path: &[u8]) {
        let path = String::from_utf8_lossy(path).trim_end_matches('\0').replace('\0', ".");
        let mut notes = self.0.borrow_mut();
        if notes.missed.len() < ENTRIES_MAX && notes.missed.insert(path.clone()) {
            notes.entries.push(Entry::Note(format!("property `{path}` does not exist")));
        }
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().add(Entry::Note(text.into()));
    }

    /// Notes a failure of the plugin.
    pub(crate) fn fault(&self, fault: Fault, what: impl Into<String>) {
        self.0.borrow_mut().add(Entry::Fault { fault, what: what.into() });
    }

    /// Notes that the plugin reads or changes a body or a trailer section.
    pub(crate) fn uses_bodies(&self) {
        self.0.borrow_mut().uses_bodies = true;
    }

    /// Returns true if callbacks for bodies ran, all continued, and none read or changed a body.
    pub(crate) fn has_idle_body_callbacks(&self) -> bool {
        let notes = self.0.borrow();
        let mut actions = notes.entries.iter().filter_map(|entry| match entry {
            Entry::Call(Call { callback, part: Some(part), .. }) if callback.ends_with("_body") => {
                Some(part.action)
            }
            _ => None,
        });
        !notes.uses_bodies
            && actions.next() == Some(Action::Continue)
            && actions.all(|action| action == Action::Continue)
    }

    /// Returns the lines that the plugin wrote, as `level: text`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let notes = self.0.borrow();
        let lines = notes.entries.iter().filter_map(|entry| match entry {
            Entry::Line { level, text } => Some(format!("{level}: {text}")),
            _ => None,
        });
        lines.collect()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.borrow().entries.clone()
    }

    /// Returns true if the plugin has failed.
    pub(crate) fn has_fault(&self) -> bool {
        self.0.borrow().entries.iter().any(|entry| matches!(entry, Entry::Fault { .. }))
    }

    /// Returns the size of the instance's linear memory after its last callback.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.borrow().memory_bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::filter::proxy_wasm::offline::played::CallOutcome;

    #[test]
    fn journal_keeps_a_bounded_number_of_each_kind() {
        let writes: [fn(&Journal); 4] = [
            |journal| journal.line("info", "again".to_owned()),
            |journal| journal.note("again"),
            |journal| journal.fault(Fault::Output, "again"),
            |journal| {
                journal.calls(UpstreamCall {
                    upstream: "side".to_owned(),
                    line: "GET /".to_owned(),
                    headers: HeaderMap::new(),
                    body: Bytes::new(),
                    timeout: Duration::ZERO,
                    outcome: CallOutcome::Failed,
                });
            },
        ];
        let journal = Journal::default();
        for (kinds, write) in (1..).zip(writes) {
            (0..2 * ENTRIES_MAX).for_each(|_| write(&journal));
            assert_eq!(journal.0.borrow().entries.len(), kinds * ENTRIES_MAX);
        }
        assert!(journal.has_fault());
    }
}
