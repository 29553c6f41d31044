//! Signatures that tell versions of a file apart without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file's identity, length and times. Different contents have different signatures, except within a tick of the file
/// system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    file: FileId,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    /// Returns the signature of the file at a path, or `None` if it cannot be read.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self {
            file: id(&metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The device and the inode of a file or folder, independent of its name.
pub(super) type FileId = (u64, u64);

/// Returns the identity of the folder at a path, or `None` if there is none.
pub(super) fn folder_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().filter(Metadata::is_dir).map(|metadata| id(&metadata))
}

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}
