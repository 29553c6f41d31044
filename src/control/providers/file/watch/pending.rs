//! The evaluation of the system's events: whether a file may have changed, and since when it has settled.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};

/// True if the system reports that a file was closed after writing. If it does not, the end of a writer is unknown.
const CLOSES_ARE_REPORTED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The intervals of a watcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    /// The time without a further change after which changes have settled. Default: 50 ms.
    pub(super) quiet: Duration,
    /// The maximum time from the first change to its notification while further changes arrive. It does not apply while
    /// a file is being written. Default: 500 ms.
    pub(super) settled_at_most: Duration,
    /// The interval between two polls of the files' metadata. Default: 2 s.
    pub(super) poll: Duration,
    /// The time after which a warning is logged for a file that is still being written. Default: 10 s.
    pub(super) writing_warned: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            settled_at_most: Duration::from_millis(500),
            poll: Duration::from_secs(2),
            writing_warned: Duration::from_secs(10),
        }
    }
}

/// The changes that have not been reported yet. Its size is bounded by the set of names that matter, however many
/// events arrive.
pub(super) struct PendingChanges {
    intervals: Intervals,
    /// The names that matter, by folder.
    places: BTreeMap<PathBuf, BTreeSet<OsString>>,
    pending: Option<Pending>,
    /// The files that are being written.
    writing: BTreeMap<PathBuf, Writing>,
    /// Files that appeared. The next event shows whether they were opened on creation.
    created: BTreeSet<PathBuf>,
    /// True if paths may lead elsewhere than they did.
    moved: bool,
    /// Folders whose watch may have ended with them, even if folders with their names exist again.
    stale: BTreeSet<PathBuf>,
}

/// A change, which is due at the earlier of two times.
struct Pending {
    quiet_at: Instant,
    latest: Instant,
}

struct Writing {
    since: Instant,
    warned: bool,
}

/// The meaning of an event for a file.
enum Meaning {
    Written,
    Closed,
    Opened,
    Created,
    /// The file was removed, renamed, or its state is unknown: a file that was open under this name is no longer the
    /// one at this path.
    Replaced,
    Touched,
}

impl Meaning {
    fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Self::Closed,
            EventKind::Access(AccessKind::Open(_)) => Self::Opened,
            EventKind::Access(_) => return None,
            EventKind::Modify(ModifyKind::Data(_)) if CLOSES_ARE_REPORTED => Self::Written,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => Self::Touched,
            EventKind::Create(_) => Self::Created,
            _ => Self::Replaced,
        })
    }
}

impl PendingChanges {
    pub(super) fn new(intervals: Intervals) -> Self {
        Self {
            intervals,
            places: BTreeMap::new(),
            pending: None,
            writing: BTreeMap::new(),
            created: BTreeSet::new(),
            moved: false,
            stale: BTreeSet::new(),
        }
    }

    /// Sets the names that matter from now on. Returns the folders that have to be watched again.
    pub(super) fn set_places(&mut self, places: BTreeMap<PathBuf, BTreeSet<OsString>>) -> BTreeSet<PathBuf> {
        self.places = places;
        let places = &self.places;
        self.writing.retain(|path, _| matters(places, path));
        self.created.retain(|path| matters(places, path));
        std::mem::take(&mut self.stale)
    }

    /// Returns true if paths may lead elsewhere than at the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Records an event. Returns true if the waiting watcher has to wake up.
    pub(super) fn note(&mut self, event: &Event, now: Instant) -> bool {
        if event.need_rescan() || event.paths.is_empty() {
            return self.note_loss(now);
        }
        let Some(meaning) = Meaning::of(&event.kind) else { return false };
        let notes = event.paths.iter().map(|path| {
            let folder = self.note_folder(&meaning, path, now);
            folder | (matters(&self.places, path) && self.note_file(&meaning, path, now))
        });
        notes.fold(false, |wakes, note| wakes | note)
    }

    /// Records a loss of events: anything may have happened.
    pub(super) fn note_loss(&mut self, now: Instant) -> bool {
        self.stale.extend(self.places.keys().cloned());
        self.created.clear();
        let held = !self.writing.is_empty();
        self.writing.clear();
        self.moved = true;
        self.touch(held, now)
    }

    /// Forgets the writers in a folder that is no longer watched, because the end of their writing will not be
    /// reported.
    pub(super) fn forget_writers(&mut self, folder: &Path) {
        self.writing.retain(|file, _| file.parent() != Some(folder));
        self.created.retain(|file| file.parent() != Some(folder));
    }

    /// Records newly watched paths. They count as changed once: the time of their last change is unknown.
    pub(super) fn note_new(&mut self, now: Instant) {
        self.touch(false, now);
    }

    /// Records an event of a watched folder, or of one above it.
    fn note_folder(&mut self, meaning: &Meaning, path: &Path, now: Instant) -> bool {
        if matches!(meaning, Meaning::Written | Meaning::Closed | Meaning::Opened) {
            return false;
        }
        let hit: Vec<_> = self.places.keys().filter(|folder| folder.starts_with(path)).cloned().collect();
        if hit.is_empty() {
            return false;
        }
        let held = !self.writing.is_empty();
        if matches!(meaning, Meaning::Created | Meaning::Replaced) {
            self.stale.extend(hit);
            // The end of writing there will not be reported.
            self.writing.retain(|file, _| !file.starts_with(path));
            self.created.retain(|file| !file.starts_with(path));
        }
        self.moved = true;
        self.touch(held, now)
    }

    /// Records an event of a file whose name matters, or of a symbolic link.
    fn note_file(&mut self, meaning: &Meaning, path: &Path, now: Instant) -> bool {
        let held = !self.writing.is_empty();
        let created = self.created.remove(path);
        match meaning {
            // A large file is written in many pieces, and the first one suffices.
            Meaning::Written if self.writing.contains_key(path) => return false,
            Meaning::Opened if !created || !is_empty_file(path) => return false,
            Meaning::Written | Meaning::Opened => {
                self.writing.insert(path.to_owned(), Writing { since: now, warned: false });
            }
            Meaning::Closed => drop(self.writing.remove(path)),
            Meaning::Created | Meaning::Replaced => {
                self.writing.remove(path);
                self.moved = true;
                if matches!(meaning, Meaning::Created) {
                    self.created.insert(path.to_owned());
                }
            }
            Meaning::Touched => self.moved = true,
        }
        self.touch(held, now)
    }

    /// Records a change. `held` is true if a file was being written until now.
    fn touch(&mut self, held: bool, now: Instant) -> bool {
        let quiet_at = now + self.intervals.quiet;
        let latest = now + self.intervals.settled_at_most;
        let pending = self.pending.get_or_insert(Pending { quiet_at, latest });
        pending.quiet_at = quiet_at;
        // A writer of a certificate that took a while may write the key next.
        if held && self.writing.is_empty() && pending.latest <= now {
            pending.latest = quiet_at;
        }
        true
    }

    /// Returns the time at which the change is due, or `None` while there is no change or a file is being written.
    pub(super) fn due(&self) -> Option<Instant> {
        let pending = self.pending.as_ref().filter(|_| self.writing.is_empty())?;
        Some(pending.quiet_at.min(pending.latest))
    }

    /// Returns true if a change is due. It then counts as reported.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        // Until the paths have been followed again, events may be missed.
        let due = !self.moved && self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
        }
        due
    }

    /// Returns the earliest time at which [`PendingChanges::warn_of_writing`] has something to log.
    pub(super) fn next_warning(&self) -> Option<Instant> {
        let unwarned = self.writing.values().filter(|writing| !writing.warned);
        unwarned.map(|writing| writing.since + self.intervals.writing_warned).min()
    }

    /// Returns true if any file is being written.
    pub(super) fn is_anything_written(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Warns of files that have been open for writing for long, once each.
    pub(super) fn warn_of_writing(&mut self, now: Instant) {
        for (path, writing) in &mut self.writing {
            if !writing.warned && now >= writing.since + self.intervals.writing_warned {
                writing.warned = true;
                tracing::warn!(
                    file = %path.display(),
                    since = ?(now - writing.since),
                    "a file is still open for writing; changes of any file take effect when it is closed"
                );
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_writing(&self, path: &Path) -> bool {
        self.writing.contains_key(path)
    }
}

fn matters(places: &BTreeMap<PathBuf, BTreeSet<OsString>>, path: &Path) -> bool {
    let place = path.parent().and_then(|folder| places.get(folder)).zip(path.file_name());
    place.is_some_and(|(names, name)| names.contains(name))
}

/// Returns true if a file that was just created and opened is about to be written: it is a regular file without content.
/// A hard link comes with its content, and a symbolic link is no regular file.
fn is_empty_file(path: &Path) -> bool {
    CLOSES_ARE_REPORTED && fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}
