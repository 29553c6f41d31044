//! What an instance did, in order, for whoever started it: a trial before it serves, or a run without a gateway.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::log::Level;
use crate::filter::{Action, Fault};

/// Lines of the plugin that are kept.
const LINES_MAX: usize = 1000;

/// What was noted so far.
#[derive(Debug, Default)]
pub(crate) struct Journal(RefCell<Notes>);

#[derive(Debug, Default)]
struct Notes {
    entries: Vec<Entry>,
    lines: usize,
    /// The callback that runs: where it is among the entries, and since when.
    running: Option<(usize, Instant)>,
    memory_bytes: usize,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A callback, and behind it what came of it.
    Call(Call),
    /// A line that the plugin wrote.
    Line { level: &'static str, text: String },
    /// The start is over, and the exchange begins.
    Started,
    /// Something that would be different in a gateway.
    Note(String),
    /// The plugin failed.
    Fault { fault: Fault, what: String },
}

/// A callback that ran.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) callback: &'static str,
    pub(crate) took: Duration,
    /// Of a part of a message.
    pub(crate) part: Option<Part>,
}

/// What a callback was told of a part of a message, and what it answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Fields of a head or of trailers, bytes of a body.
    pub(crate) size: u32,
    /// Whether nothing follows.
    pub(crate) end: bool,
    pub(crate) action: Action,
}

impl Journal {
    /// A callback begins, and the one before is over.
    pub(super) fn enters(&self, callback: &'static str) {
        self.leaves(None);
        let notes = &mut *self.0.borrow_mut();
        notes.running = Some((notes.entries.len(), Instant::now()));
        notes.entries.push(Entry::Call(Call { callback, took: Duration::ZERO, part: None }));
    }

    /// The callback that runs is over, and this is the instance's memory now.
    pub(super) fn leaves(&self, memory_bytes: Option<usize>) {
        let notes = &mut *self.0.borrow_mut();
        if let Some((index, began)) = notes.running.take()
            && let Some(Entry::Call(call)) = notes.entries.get_mut(index)
        {
            call.took = began.elapsed();
        }
        if let Some(bytes) = memory_bytes {
            notes.memory_bytes = bytes;
        }
    }

    /// What the last callback was about.
    pub(super) fn was_about(&self, part: Part) {
        let mut notes = self.0.borrow_mut();
        let calls = notes.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::Call(call) => Some(call),
            _ => None,
        });
        if let Some(call) = calls {
            call.part = Some(part);
        }
    }

    /// The plugin writes a line.
    pub(super) fn line(&self, level: Level, text: String) {
        let mut notes = self.0.borrow_mut();
        notes.lines += 1;
        if notes.lines <= LINES_MAX {
            notes.entries.push(Entry::Line { level: level.name(), text });
        }
    }

    /// The plugin is ready.
    pub(super) fn started(&self) {
        self.0.borrow_mut().entries.push(Entry::Started);
    }

    pub(super) fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().entries.push(Entry::Note(text.into()));
    }

    pub(super) fn fault(&self, fault: Fault, what: impl Into<String>) {
        self.0.borrow_mut().entries.push(Entry::Fault { fault, what: what.into() });
    }

    /// What the plugin wrote, as `level: text`.
    pub(super) fn lines(&self) -> Vec<String> {
        let notes = self.0.borrow();
        let lines = notes.entries.iter().filter_map(|entry| match entry {
            Entry::Line { level, text } => Some(format!("{level}: {text}")),
            _ => None,
        });
        lines.collect()
    }

    /// All that happened so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.borrow().entries.clone()
    }

    /// Whether the plugin has failed.
    pub(crate) fn has_fault(&self) -> bool {
        self.0.borrow().entries.iter().any(|entry| matches!(entry, Entry::Fault { .. }))
    }

    /// Linear memory of the instance, after its last callback.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.borrow().memory_bytes
    }
}
