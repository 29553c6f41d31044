//! Files: appending, reopening one that was moved, and rotation by size.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation, access, flock};

use super::sink::{Batch, Link, Loss, Sent, Sink};
use crate::config::Rotate;
use crate::observe::rate_limited_warning::RateLimitedWarning;

/// The most files beyond `keep` that a rotation removes. There are some after `keep` was lowered.
const SURPLUS_MAX: u32 = 1000;

/// The path of a log and the identity of its open file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) rotate: Option<Rotate>,
    /// Locked for as long as the file is opened again or rotated.
    id: Mutex<FileId>,
}

/// The identity of a file, independent of its name: device and inode.
type FileId = (u64, u64);

impl LogFile {
    /// Opens the file, or creates it.
    pub(super) fn open(path: &Path, rotate: Option<Rotate>) -> io::Result<(Arc<Self>, FileSink)> {
        let (file, id) = open(path, rotate.is_some())?;
        let this = Arc::new(Self { path: path.to_owned(), rotate, id: Mutex::new(id) });
        let sink = FileSink::new(this.clone(), file, id);
        Ok((this, sink))
    }

    #[cfg(test)]
    /// Returns true if the path still leads to the file that is written to.
    pub(super) fn is_current(&self) -> bool {
        self.leads_to(*self.lock())
    }

    /// Opens the file at the path if that is another one. Returns `None` if it is not.
    pub(super) fn reopen(self: &Arc<Self>, redirect: impl FnOnce(FileSink)) -> io::Result<bool> {
        let mut current = self.lock();
        if self.leads_to(*current) {
            return Ok(false);
        }
        let (file, id) = open(&self.path, self.rotate.is_some())?;
        *current = id;
        redirect(FileSink::new(self.clone(), file, id));
        Ok(true)
    }

    fn leads_to(&self, id: FileId) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| file_id(&found) == id)
    }

    fn lock(&self) -> MutexGuard<'_, FileId> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file.
pub(super) struct FileSink {
    log: Arc<LogFile>,
    file: File,
    id: FileId,
    /// True if a write ended within a line. The next one begins with a newline.
    is_in_line: bool,
    warnings: RateLimitedWarning,
}

impl Sink for FileSink {
    fn send(&mut self, batch: &mut Batch, link: &Link) -> Sent {
        let written = match self.log.rotate {
            Some(rotate) => self.write_rotated(batch, rotate),
            None => self.write(batch, usize::MAX),
        };
        if let Err(error) = written {
            let lines = batch.give_up();
            link.counts.drop_lines(Loss::Output, lines);
            if error.kind() == ErrorKind::BrokenPipe {
                return Sent::Gone;
            }
            if let Some(suppressed) = self.warnings.passes() {
                tracing::warn!(
                    suppressed,
                    "the access log cannot be written: {error}; its lines are lost until it can"
                );
            }
        }
        Sent::All
    }
}

impl FileSink {
    fn new(log: Arc<LogFile>, file: File, id: FileId) -> Self {
        let warnings = RateLimitedWarning::every(Duration::from_secs(10));
        Self { log, file, id, is_in_line: false, warnings }
    }

    /// Writes the first bytes of a batch.
    fn write(&mut self, batch: &mut Batch, bytes_max: usize) -> io::Result<()> {
        if self.is_in_line && !batch.is_empty() {
            self.file.write_all(b"\n")?;
            self.is_in_line = false;
        }
        let mut left = bytes_max;
        while let Some(bytes) =
            batch.rest().get(..left.min(batch.rest().len())).filter(|bytes| !bytes.is_empty())
        {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_in_line = bytes.get(..written).is_some_and(|bytes| !bytes.ends_with(b"\n"));
                    left -= written;
                    batch.advance(written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a batch, and rotates the file before a line with which it would be larger than it may be.
    fn write_rotated(&mut self, batch: &mut Batch, rotate: Rotate) -> io::Result<()> {
        while !batch.is_empty() {
            let size = self.file.metadata()?.len();
            let room = usize::try_from(rotate.size.bytes().saturating_sub(size)).unwrap_or(usize::MAX);
            let rest = batch.rest();
            let fitting = if rest.len() <= room { rest.len() } else { whole_lines(rest, room) };
            // A line that is larger than a file may be has a file of its own.
            let first_line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            match fitting {
                0 if size == 0 => self.write(batch, first_line)?,
                0 => match self.rotate(&rotate) {
                    Ok(true) => {}
                    // Lines rather go to a file that is too large than nowhere.
                    Ok(false) => self.write(batch, usize::MAX)?,
                    Err(error) => {
                        if let Some(suppressed) = self.warnings.passes() {
                            let path = self.log.path.display();
                            tracing::warn!(
                                suppressed,
                                "the access log {path} cannot be rotated, and grows: {error}"
                            );
                        }
                        self.write(batch, usize::MAX)?;
                    }
                },
                fitting => self.write(batch, fitting)?,
            }
        }
        Ok(())
    }

    /// Moves the file to the first of the earlier ones, and opens a new one. Returns false if another process is about to do so.
    ///
    /// Each file has one name at any moment, so a crash loses none: at worst a number is missing from the row until the next rotation.
    fn rotate(&mut self, rotate: &Rotate) -> io::Result<bool> {
        let log = self.log.clone();
        let mut current = log.lock();
        // Another gateway may write to the file, too, such as one that is about to end. The lock is of the open file, so it ends with it.
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Ok(false),
            // There are file systems without locks.
            _ => {}
        }
        let rotated = if log.leads_to(self.id) { self.move_away(rotate) } else { open(&log.path, true) };
        match rotated {
            Ok((file, id)) => {
                (self.file, self.id, self.is_in_line) = (file, id, false);
                *current = id;
                Ok(true)
            }
            Err(error) => {
                let _unlocked = flock(&self.file, FlockOperation::Unlock);
                Err(error)
            }
        }
    }

    fn move_away(&self, rotate: &Rotate) -> io::Result<(File, FileId)> {
        // A symbolic link stays where it is.
        let path = fs::canonicalize(&self.log.path)?;
        let keep = u32::from(rotate.keep);
        for number in (keep + 1..).take(SURPLUS_MAX as usize) {
            if fs::remove_file(numbered(&path, number)).is_err() {
                break;
            }
        }
        let free = (1..=keep).find(|number| fs::symlink_metadata(numbered(&path, *number)).is_err());
        for number in (1..free.unwrap_or(keep)).rev() {
            fs::rename(numbered(&path, number), numbered(&path, number + 1))?;
        }
        fs::rename(&path, numbered(&path, 1))?;
        let before = self.file.metadata()?;
        let mode = before.mode() & 0o7777;
        let file = OpenOptions::new().append(true).create(true).mode(mode).open(&path)?;
        // The user's mask may have taken some away.
        file.set_permissions(Permissions::from_mode(mode))?;
        let now = file.metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            // Only root may do so. The file is of use without.
            drop(fchown(&file, Some(before.uid()), Some(before.gid())));
        }
        Ok((file, file_id(&now)))
    }
}

/// Returns the path of an earlier file: `access.log.1`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Returns the length of the whole lines within the first bytes.
fn whole_lines(bytes: &[u8], bytes_max: usize) -> usize {
    let first = bytes.get(..bytes_max).unwrap_or(bytes);
    first.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn open(path: &Path, is_rotated: bool) -> io::Result<(File, FileId)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let metadata = file.metadata()?;
    if is_rotated && !metadata.is_file() {
        return Err(not_a_file());
    }
    Ok((file, file_id(&metadata)))
}

fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "`rotate` is for regular files, which this is not")
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Checks that a file could be opened. Creates nothing.
pub(super) fn check(path: &Path, is_rotated: bool) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if is_rotated && !found.is_file() && !found.is_dir() => Err(not_a_file()),
        // Opening a FIFO for writing blocks until it has a reader.
        Ok(found) if found.is_file() || found.is_dir() => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}
