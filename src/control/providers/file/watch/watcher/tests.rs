//! Tests with real files that are replaced in every possible way.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::mpsc::sync_channel;

use notify::event::{DataChange, Event, EventKind, Flag, ModifyKind};
use support::{PATIENCE, wait_until, within};

use super::*;

/// Longer than any test, so that this interval never causes a report.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Intervals without polling, so that only events report changes.
const EVENTS_ALONE: Intervals = Intervals {
    quiet: Duration::from_millis(5),
    settled_at_most: Duration::from_millis(50),
    poll: NEVER,
    writing_warned: NEVER,
};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    (folder, root)
}

/// Returns a watcher that has already reported its new paths.
async fn watching(mut watcher: Watcher, paths: &[PathBuf]) -> Watcher {
    watcher.watch(paths.iter().cloned());
    within("the paths are new", watcher.changed()).await;
    watcher
}

/// Waits for changes until a file has this content.
async fn reports(watcher: &mut Watcher, path: &Path, content: &str, what: &str) {
    within(what, async {
        loop {
            watcher.changed().await;
            if fs::read_to_string(path).is_ok_and(|found| found == content) {
                return;
            }
        }
    })
    .await;
}

async fn wait_for_writer(watcher: &Watcher, path: &Path) {
    wait_until("the writing is known", async || watcher.shared.lock().is_writing(path)).await;
}

/// A way to replace `conf/file` below a folder.
struct Way {
    name: &'static str,
    prepare: fn(&Path),
    /// Replaces the file with the new content.
    replace: fn(&Path, &str),
}

fn file(root: &Path) -> PathBuf {
    root.join("conf/file")
}

fn plain(root: &Path) {
    fs::create_dir(root.join("conf")).unwrap();
    fs::write(file(root), "0").unwrap();
}

/// Replaces what is at a path with a link, atomically.
fn link(target: impl AsRef<Path>, at: &Path) {
    let new = at.parent().unwrap().join("link");
    symlink(target, &new).unwrap();
    fs::rename(new, at).unwrap();
}

const WAYS: [Way; 14] = [
    Way { name: "written in place", prepare: plain, replace: |root, to| fs::write(file(root), to).unwrap() },
    Way {
        name: "renamed over, as sed -i and most editors do",
        prepare: plain,
        replace: |root, to| {
            fs::write(root.join("conf/new"), to).unwrap();
            fs::rename(root.join("conf/new"), file(root)).unwrap();
        },
    },
    Way {
        name: "renamed away and rewritten, as vim does",
        prepare: plain,
        replace: |root, to| {
            fs::rename(file(root), root.join("conf/file~")).unwrap();
            fs::write(file(root), to).unwrap();
            fs::remove_file(root.join("conf/file~")).unwrap();
        },
    },
    Way {
        name: "moved in from another folder",
        prepare: plain,
        replace: |root, to| {
            fs::write(root.join("other"), to).unwrap();
            fs::rename(root.join("other"), file(root)).unwrap();
        },
    },
    Way {
        name: "copied over",
        prepare: plain,
        replace: |root, to| {
            fs::write(root.join("other"), to).unwrap();
            fs::copy(root.join("other"), file(root)).unwrap();
        },
    },
    Way {
        name: "removed and created",
        prepare: plain,
        replace: |root, to| {
            fs::remove_file(file(root)).unwrap();
            fs::write(file(root), to).unwrap();
        },
    },
    Way {
        name: "removed and linked",
        prepare: plain,
        replace: |root, to| {
            let other = root.join(format!("other-{to}"));
            fs::write(&other, to).unwrap();
            fs::remove_file(file(root)).unwrap();
            fs::hard_link(other, file(root)).unwrap();
        },
    },
    Way {
        name: "missing, its folder too, and created",
        prepare: |_| {},
        replace: |root, to| {
            fs::create_dir_all(root.join("conf")).unwrap();
            fs::write(file(root), to).unwrap();
        },
    },
    Way {
        name: "a link, whose target is written",
        prepare: |root| {
            fs::create_dir(root.join("conf")).unwrap();
            fs::create_dir(root.join("elsewhere")).unwrap();
            fs::write(root.join("elsewhere/target"), "0").unwrap();
            symlink("../elsewhere/target", file(root)).unwrap();
        },
        replace: |root, to| fs::write(root.join("elsewhere/target"), to).unwrap(),
    },
    Way {
        name: "a link that is swapped",
        prepare: |root| {
            fs::create_dir(root.join("conf")).unwrap();
            symlink("nowhere", file(root)).unwrap();
        },
        replace: |root, to| {
            fs::write(root.join(to), to).unwrap();
            link(root.join(to), &file(root));
        },
    },
    Way {
        name: "two links, the inner one swapped and the old folder removed, as a ConfigMap",
        prepare: |root| {
            fs::create_dir_all(root.join("conf/..0")).unwrap();
            fs::write(root.join("conf/..0/file"), "0").unwrap();
            symlink("..0", root.join("conf/..data")).unwrap();
            symlink("..data/file", file(root)).unwrap();
        },
        replace: |root, to| {
            let data = root.join("conf/..data");
            let old = fs::read_link(&data).unwrap();
            let new = format!("..{to}");
            fs::create_dir(root.join("conf").join(&new)).unwrap();
            fs::write(root.join("conf").join(&new).join("file"), to).unwrap();
            link(new, &data);
            fs::remove_dir_all(root.join("conf").join(old)).unwrap();
        },
    },
    Way {
        name: "in a folder that is a link, which is swapped",
        prepare: |root| {
            fs::create_dir(root.join("v0")).unwrap();
            fs::write(root.join("v0/file"), "0").unwrap();
            symlink("v0", root.join("conf")).unwrap();
        },
        replace: |root, to| {
            let new = format!("v{to}");
            fs::create_dir(root.join(&new)).unwrap();
            fs::write(root.join(&new).join("file"), to).unwrap();
            link(new, &root.join("conf"));
        },
    },
    Way {
        name: "its folder removed and created",
        prepare: plain,
        replace: |root, to| {
            fs::remove_dir_all(root.join("conf")).unwrap();
            fs::create_dir(root.join("conf")).unwrap();
            fs::write(file(root), to).unwrap();
        },
    },
    Way {
        name: "its folder renamed away and another one in its place",
        prepare: plain,
        replace: |root, to| {
            fs::rename(root.join("conf"), root.join(format!("old-{to}"))).unwrap();
            fs::create_dir(root.join("conf-new")).unwrap();
            fs::write(root.join("conf-new/file"), to).unwrap();
            fs::rename(root.join("conf-new"), root.join("conf")).unwrap();
        },
    },
];

/// Contents of different lengths: within a tick of the file system's clock the metadata has nothing else.
const CONTENTS: [&str; 3] = ["11", "222", "3333"];

#[tokio::test]
async fn a_file_change_is_reported_by_events_for_every_kind_of_replacement() {
    for Way { name, prepare, replace } in WAYS {
        let (_folder, root) = folder();
        prepare(&root);
        let mut watcher = watching(Watcher::with(EVENTS_ALONE), &[file(&root)]).await;
        // Several times, so that the watches have to follow.
        for content in CONTENTS {
            replace(&root, content);
            reports(&mut watcher, &file(&root), content, name).await;
        }
    }
}

#[tokio::test]
async fn a_file_change_is_reported_without_events_for_every_kind_of_replacement() {
    let intervals = Intervals { poll: Duration::from_millis(1), ..EVENTS_ALONE };
    for Way { name, prepare, replace } in WAYS {
        let (_folder, root) = folder();
        prepare(&root);
        let mut watcher = watching(Watcher::without_events(intervals), &[file(&root)]).await;
        for content in CONTENTS {
            replace(&root, content);
            reports(&mut watcher, &file(&root), content, name).await;
        }
    }
}

#[tokio::test]
async fn polling_reports_a_change_that_no_event_does() {
    let (_folder, root) = folder();
    fs::create_dir_all(root.join("above/conf")).unwrap();
    let path = root.join("above/conf/file");
    fs::write(&path, "0").unwrap();
    let intervals = Intervals { poll: Duration::from_millis(1), ..EVENTS_ALONE };
    let mut watcher = watching(Watcher::with(intervals), std::slice::from_ref(&path)).await;
    // A folder above the file's own is not watched.
    fs::create_dir_all(root.join("new/conf")).unwrap();
    fs::write(root.join("new/conf/file"), "11").unwrap();
    let mut writer = File::create(&path).unwrap();
    writer.write_all(b"unfinished").unwrap();
    wait_for_writer(&watcher, &path).await;
    fs::rename(root.join("above"), root.join("old")).unwrap();
    fs::rename(root.join("new"), root.join("above")).unwrap();
    reports(&mut watcher, &path, "11", "the poll").await;
    watcher.intervals.poll = NEVER;
    watcher.poll_at = Instant::now() + NEVER;
    fs::write(&path, "222").unwrap();
    reports(&mut watcher, &path, "222", "the new folder's events").await;
}

#[tokio::test]
async fn a_half_written_file_is_not_reported_until_it_is_closed() {
    let (_folder, root) = folder();
    plain(&root);
    let path = file(&root);
    let mut watcher = watching(Watcher::with(EVENTS_ALONE), std::slice::from_ref(&path)).await;
    for content in CONTENTS {
        let mut writer = File::create(&path).unwrap();
        writer.write_all(&content.as_bytes()[..1]).unwrap();
        wait_for_writer(&watcher, &path).await;
        assert!(watcher.shared.lock().is_pending());
        assert!(!watcher.shared.lock().take_due(Instant::now() + NEVER), "however long it takes");
        assert!(!watcher.poll(Instant::now()) && !watcher.poll(Instant::now()), "even if it rests meanwhile");
        writer.write_all(&content.as_bytes()[1..]).unwrap();
        drop(writer);
        within("the closed file", watcher.changed()).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_new_file_is_not_reported_before_its_content_is_written() {
    let (_folder, root) = folder();
    let path = root.join("file");
    let mut watcher = watching(Watcher::with(EVENTS_ALONE), std::slice::from_ref(&path)).await;
    let mut writer = File::create(&path).unwrap();
    wait_for_writer(&watcher, &path).await;
    assert!(!watcher.shared.lock().take_due(Instant::now() + NEVER));
    writer.write_all(b"content").unwrap();
    drop(writer);
    within("the closed file", watcher.changed()).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
}

#[tokio::test]
async fn a_writer_of_a_file_that_was_replaced_holds_nothing_up() {
    let replaced: [fn(&Path); 3] = [
        |root| {
            fs::write(root.join("conf/new"), "11").unwrap();
            fs::rename(root.join("conf/new"), file(root)).unwrap();
        },
        |root| {
            fs::remove_file(file(root)).unwrap();
            fs::write(file(root), "11").unwrap();
        },
        |root| {
            fs::rename(root.join("conf"), root.join("old")).unwrap();
            fs::create_dir(root.join("conf")).unwrap();
            fs::write(file(root), "11").unwrap();
        },
    ];
    for replace in replaced {
        let (_folder, root) = folder();
        plain(&root);
        let mut watcher = watching(Watcher::with(EVENTS_ALONE), &[file(&root)]).await;
        let mut writer = File::create(file(&root)).unwrap();
        writer.write_all(b"unfinished").unwrap();
        wait_for_writer(&watcher, &file(&root)).await;
        replace(&root);
        reports(&mut watcher, &file(&root), "11", "the replaced file").await;
        drop(writer);
    }
}

#[tokio::test]
async fn a_file_beside_that_is_always_written_holds_nothing_up() {
    let (_folder, root) = folder();
    plain(&root);
    let mut watcher = watching(Watcher::with(EVENTS_ALONE), &[file(&root)]).await;
    let mut log = File::create(root.join("conf/log")).unwrap();
    for content in CONTENTS {
        log.write_all(b"a line\n").unwrap();
        fs::write(file(&root), content).unwrap();
        reports(&mut watcher, &file(&root), content, "the file beside the log").await;
    }
}

/// Returns the events of a folder that an action causes.
fn events_of(folder: &Path, act: impl FnOnce()) -> Vec<Event> {
    let (sender, receiver) = sync_channel(1000);
    let mut system = notify::recommended_watcher(move |event: notify::Result<Event>| {
        drop(sender.try_send(event.unwrap()));
    })
    .unwrap();
    system.watch(folder, RecursiveMode::NonRecursive).unwrap();
    act();
    let fence = folder.join("fence");
    fs::create_dir(&fence).unwrap();
    let mut events = Vec::new();
    loop {
        let event = receiver.recv_timeout(PATIENCE).unwrap();
        if event.kind.is_create() && event.paths == [fence.clone()] {
            return events;
        }
        events.push(event);
    }
}

#[test]
fn events_of_other_files_and_reads_are_no_change() {
    let (_folder, root) = folder();
    plain(&root);
    let events = events_of(&root.join("conf"), || {
        fs::write(root.join("conf/log"), "a line").unwrap();
        fs::rename(root.join("conf/log"), root.join("conf/log.1")).unwrap();
        fs::remove_file(root.join("conf/log.1")).unwrap();
        fs::read(file(&root)).unwrap();
        fs::read_dir(root.join("conf")).unwrap().count();
    });
    assert!(events.iter().any(|event| event.paths == [file(&root)]), "the reading is an event");
    let mut changes = PendingChanges::new(EVENTS_ALONE);
    changes.set_places([(root.join("conf"), ["file".into()].into())].into());
    for event in events {
        assert!(!changes.note(&event, Instant::now()), "{event:?}");
    }
    assert!(!changes.is_pending() && !changes.take_moved());
}

#[tokio::test]
async fn a_new_path_counts_as_changed_once_and_the_same_set_does_not() {
    let (_folder, root) = folder();
    let [a, b] = ["a", "b"].map(|name| root.join(name));
    let mut watcher = watching(Watcher::with(EVENTS_ALONE), std::slice::from_ref(&a)).await;
    watcher.watch([a.clone()]);
    assert!(!watcher.shared.lock().is_pending());
    let mut watcher = watching(watcher, &[a, b.clone()]).await;
    watcher.watch([b]);
    assert!(!watcher.shared.lock().is_pending(), "fewer are nothing new");
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (_folder, root) = folder();
    plain(&root);
    let mut watcher = watching(Watcher::with(EVENTS_ALONE), &[file(&root)]).await;
    let mut writer = File::create(file(&root)).unwrap();
    writer.write_all(b"11").unwrap();
    wait_for_writer(&watcher, &file(&root)).await;
    tokio::select! {
        biased;
        () = watcher.changed() => panic!("it is still being written"),
        () = std::future::ready(()) => {}
    }
    drop(writer);
    within("the change", watcher.changed()).await;
}

#[test]
fn a_growing_file_is_not_reported_without_events() {
    let (_folder, root) = folder();
    let path = root.join("file");
    fs::write(&path, "0").unwrap();
    let mut watcher = Watcher::without_events(EVENTS_ALONE);
    watcher.watch([path.clone()]);
    assert!(watcher.shared.lock().take_due(Instant::now() + NEVER));
    let now = Instant::now();
    assert!(!watcher.poll(now) && !watcher.poll(now), "nothing has changed");
    for content in CONTENTS {
        fs::write(&path, content).unwrap();
        assert!(!watcher.poll(now));
    }
    assert!(watcher.poll(now));
    watcher.remember();
    assert!(!watcher.poll(now) && !watcher.poll(now));
    fs::write(&path, "").unwrap();
    assert!(!watcher.poll(now));
    fs::write(&path, CONTENTS[2]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!watcher.poll(now) && watcher.poll(now));
}

/// Pending changes under an artificial clock, with the default intervals.
struct Clock {
    changes: PendingChanges,
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        let mut changes = PendingChanges::new(Intervals::default());
        changes.set_places([("/conf".into(), ["a".into(), "b".into()].into())].into());
        Self { changes, start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn note(&mut self, millis: u64, kind: EventKind, path: &str) {
        let now = self.at(millis);
        self.changes.note(&Event::new(kind).add_path(path.into()), now);
        self.changes.take_moved();
    }

    fn due(&self) -> Option<u128> {
        self.changes.due().map(|due| (due - self.start).as_millis())
    }
}

const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSED: EventKind =
    EventKind::Access(notify::event::AccessKind::Close(notify::event::AccessMode::Write));
const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::Any));

#[test]
fn changes_settle_in_50_ms_of_quiet_or_500_ms_in_all() {
    let mut clock = Clock::new();
    assert_eq!(clock.due(), None);
    clock.note(0, RENAMED, "/conf/a");
    assert_eq!(clock.due(), Some(50));
    clock.note(30, RENAMED, "/conf/unrelated");
    assert_eq!(clock.due(), Some(50), "a busy neighbour delays nothing");
    for millis in (40..=480).step_by(40) {
        clock.note(millis, RENAMED, "/conf/b");
    }
    assert_eq!(clock.due(), Some(500));
    let (early, late) = (clock.at(499), clock.at(500));
    assert!(!clock.changes.take_due(early));
    assert!(clock.changes.take_due(late));
    assert!(!clock.changes.take_due(late), "once");
    clock.note(600, RENAMED, "/conf/a");
    assert_eq!(clock.due(), Some(650));
}

#[test]
fn writing_holds_beyond_every_bound_and_its_end_settles_like_a_change() {
    let mut clock = Clock::new();
    clock.note(0, WRITTEN, "/conf/a");
    clock.note(100, WRITTEN, "/conf/b");
    clock.note(3000, CLOSED, "/conf/a");
    assert_eq!(clock.due(), None, "the other one");
    clock.note(4000, CLOSED, "/conf/b");
    assert_eq!(clock.due(), Some(4050));
    // The same writer begins its next file.
    clock.note(4030, WRITTEN, "/conf/a");
    assert_eq!(clock.due(), None);
    clock.note(4040, CLOSED, "/conf/a");
    assert_eq!(clock.due(), Some(4050), "short writes without end must not put it off for ever");
}

#[test]
fn lost_events_and_replaced_folders_end_what_was_known_of_writers() {
    for (kind, path) in [(RENAMED, "/conf"), (RENAMED, "/"), (EventKind::Any, "/conf/a")] {
        let mut clock = Clock::new();
        clock.note(0, WRITTEN, "/conf/a");
        clock.note(10, kind, path);
        assert_eq!(clock.due(), Some(60), "{kind:?} {path}");
    }
    let mut clock = Clock::new();
    clock.note(0, WRITTEN, "/conf/a");
    let now = clock.at(10);
    assert!(clock.changes.note(&Event::new(EventKind::Other).set_flag(Flag::Rescan), now));
    assert_eq!(clock.due(), Some(60));
    assert!(clock.changes.take_moved());
    assert_eq!(clock.changes.set_places(BTreeMap::new()), BTreeSet::from(["/conf".into()]));
}

#[test]
fn a_writer_that_takes_long_is_warned_of_once() {
    let mut clock = Clock::new();
    clock.note(0, WRITTEN, "/conf/a");
    let warned_at = clock.at(10_000);
    assert_eq!(clock.changes.next_warning(), Some(warned_at));
    let before = clock.at(9_999);
    clock.changes.warn_of_writing(before);
    assert_eq!(clock.changes.next_warning(), Some(warned_at));
    clock.changes.warn_of_writing(warned_at);
    assert_eq!(clock.changes.next_warning(), None);
}
