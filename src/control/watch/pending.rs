//! What the system's events come to: whether a file may have changed, and since when it has settled.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};

use super::intervals::Intervals;

/// Whether the system tells that a file was closed after writing. Where it does not, nobody knows when a writer is done.
const CLOSES_ARE_TOLD: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The changes that were not told yet. As large as the set of names that matter, however many events come.
pub(super) struct PendingChanges {
    intervals: Intervals,
    /// The names that matter, by their folder.
    places: BTreeMap<PathBuf, BTreeSet<OsString>>,
    pending: Option<Pending>,
    /// The files that somebody is writing.
    writing: BTreeMap<PathBuf, Writing>,
    /// Files that appeared; the next event tells whether they were opened with it.
    created: BTreeSet<PathBuf>,
    /// Paths may lead elsewhere than they did.
    moved: bool,
    /// Folders whose watch may have ended with them, even if there are folders of that name again.
    stale: BTreeSet<PathBuf>,
}

/// A change that is to be told at the earlier of two times.
struct Pending {
    quiet_at: Instant,
    latest: Instant,
}

struct Writing {
    since: Instant,
    warned: bool,
}

/// What an event means for a file.
enum Meaning {
    Written,
    Closed,
    Opened,
    Created,
    /// Removed, renamed, or nobody knows: what was open under this name is no longer what is there.
    Replaced,
    Touched,
}

impl Meaning {
    fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Self::Closed,
            EventKind::Access(AccessKind::Open(_)) => Self::Opened,
            EventKind::Access(_) => return None,
            EventKind::Modify(ModifyKind::Data(_)) if CLOSES_ARE_TOLD => Self::Written,
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

    /// Tells which names matter from now on. Answers the folders that have to be watched anew.
    pub(super) fn set_places(&mut self, places: BTreeMap<PathBuf, BTreeSet<OsString>>) -> BTreeSet<PathBuf> {
        self.places = places;
        let places = &self.places;
        self.writing.retain(|path, _| matters(places, path));
        self.created.retain(|path| matters(places, path));
        std::mem::take(&mut self.stale)
    }

    /// Whether paths may lead elsewhere than at the last asking.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Notes an event; answers whether whoever waits for a change has to think again.
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

    /// Events were lost: anything may have happened.
    pub(super) fn note_loss(&mut self, now: Instant) -> bool {
        self.stale.extend(self.places.keys().cloned());
        self.created.clear();
        let held = !self.writing.is_empty();
        self.writing.clear();
        self.moved = true;
        self.touch(held, now)
    }

    /// A folder is no longer watched: nobody will hear of the end of what is written there.
    pub(super) fn forget_writers(&mut self, folder: &Path) {
        self.writing.retain(|file, _| file.parent() != Some(folder));
        self.created.retain(|file| file.parent() != Some(folder));
    }

    /// Paths were added, of which nobody knows since when they are as they are.
    pub(super) fn note_new(&mut self, now: Instant) {
        self.touch(false, now);
    }

    /// A watched folder, or one above it.
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
            // Nobody will hear of the end of what is written there.
            self.writing.retain(|file, _| !file.starts_with(path));
            self.created.retain(|file| !file.starts_with(path));
        }
        self.moved = true;
        self.touch(held, now)
    }

    /// A file whose name matters, or a symbolic link.
    fn note_file(&mut self, meaning: &Meaning, path: &Path, now: Instant) -> bool {
        let held = !self.writing.is_empty();
        let created = self.created.remove(path);
        match meaning {
            // A large file is written in many pieces: one of them is enough to know.
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

    /// Something changed; `held` says whether somebody was writing until now.
    fn touch(&mut self, held: bool, now: Instant) -> bool {
        let quiet_at = now + self.intervals.quiet;
        let latest = now + self.intervals.settled_at_most;
        let pending = self.pending.get_or_insert(Pending { quiet_at, latest });
        pending.quiet_at = quiet_at;
        // Whoever has written a certificate for a while may write its key next.
        if held && self.writing.is_empty() && pending.latest <= now {
            pending.latest = quiet_at;
        }
        true
    }

    /// When the change is to be told; `None` while there is none, or somebody is writing.
    pub(super) fn due(&self) -> Option<Instant> {
        let pending = self.pending.as_ref().filter(|_| self.writing.is_empty())?;
        Some(pending.quiet_at.min(pending.latest))
    }

    /// Whether a change is to be told now; it counts as told then.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        // While paths are not followed to where they lead now, events may be missed.
        let due = !self.moved && self.due().is_some_and(|due| due <= now);
        if due {
            self.pending = None;
        }
        due
    }

    /// When [`PendingChanges::warn_of_writing`] has something to say, at the earliest.
    pub(super) fn next_warning(&self) -> Option<Instant> {
        let unwarned = self.writing.values().filter(|writing| !writing.warned);
        unwarned.map(|writing| writing.since + self.intervals.writing_warned).min()
    }

    /// Whether any file is being written.
    pub(super) fn is_anything_written(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Warns of files that somebody has been writing for long, once each.
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

/// A file that was just created and opened is about to be written, unless it came with its content (a hard link) or is no
/// file at all (a symbolic one).
fn is_empty_file(path: &Path) -> bool {
    CLOSES_ARE_TOLD && fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}
