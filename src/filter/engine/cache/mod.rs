//! Compiled modules on disk, so that a start does not compile what an earlier one has.
//!
//! Loading compiled code is executing it: what somebody else could have written is never loaded. Nothing of this protects
//! against who can act as the gateway's own user.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Seek as _, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::OFlags;

use super::compiler::memory_file;

/// The most files that are kept.
const FILES_MAX: usize = 128;

/// The most bytes that all files together, and any of them, may have.
const BYTES_MAX: u64 = 1 << 30;

/// Temporary files of this age are nobody's any more.
const LEFTOVER_AGE: Duration = Duration::from_secs(60 * 60);

/// What a file begins with: what it is, and the version of this format.
const MAGIC: &[u8; 12] = b"gw-cwasm\0\0\0\x01";

/// The magic, and a digest of the key and the content.
const HEADER_BYTES: usize = MAGIC.len() + 32;

/// What is read at once.
const PIECE_BYTES: usize = 64 * 1024;

const SUFFIX: &str = ".cwasm";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A folder of compiled modules, which several processes may share. All of its functions wait for the disk.
pub(crate) struct CodeCache {
    folder: PathBuf,
}

/// What a compiled module is known by: of what it was compiled, and by what.
pub(crate) struct CacheKey([u8; 32]);

/// Where the cache is unless the configuration says otherwise: `wasm` in systemd's `$CACHE_DIRECTORY`, or in `gateway` in the
/// user's cache (XDG base directories). `None` where neither is known.
pub(crate) fn default_folder() -> Option<PathBuf> {
    folder_by(|name| std::env::var_os(name))
}

fn folder_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path counts as unset, as the XDG specification has it; so does an empty one.
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let folder = |name| variable(name).map(PathBuf::from).and_then(absolute);
    // A service may have several folders, separated by colons.
    let service = variable("CACHE_DIRECTORY").and_then(|paths| std::env::split_paths(&paths).next());
    let folder = service
        .and_then(absolute)
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("gateway")))
        .or_else(|| Some(folder("HOME")?.join(".cache/gateway")))?;
    Some(folder.join("wasm"))
}

impl CacheKey {
    /// The key of what `engine` makes of `wasm`. What `engine` hashes must tell all apart that cannot run each other's code.
    pub(crate) fn new(wasm: &[u8], engine: &impl Hash) -> Self {
        let mut digest = Digest(Context::new(&SHA256));
        // With its length, so that no byte of the one part can be taken for one of the other.
        wasm.hash(&mut digest);
        engine.hash(&mut digest);
        Self(digest.end())
    }
}

impl Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 of what is hashed.
struct Digest(Context);

impl Digest {
    fn end(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (byte, digest) in bytes.iter_mut().zip(self.0.finish().as_ref()) {
            *byte = *digest;
        }
        bytes
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for it: eight bytes would not be enough.
    fn finish(&self) -> u64 {
        0
    }
}

impl CodeCache {
    /// Uses `folder`, which is made if it is not there, and clears it of what writers have left behind that did not come to
    /// their end.
    ///
    /// # Errors
    /// There is no such folder and none can be made; or another user owns it, or may write to it.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if !is_ours(&fs::metadata(folder)?) {
            let text = "the cache of compiled filters must belong to the user that the gateway runs as, and be writable by \
                        nobody else: whoever writes to it decides what the gateway executes";
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        let cache = Self { folder: folder.to_owned() };
        for (path, metadata) in cache.files(TEMPORARY_SUFFIX)? {
            if metadata.modified()?.elapsed().is_ok_and(|age| age > LEFTOVER_AGE) {
                remove(&path)?;
            }
        }
        Ok(cache)
    }

    /// Returns what was stored for `key`, if it is there and whole: a copy of its own, in memory, so that nothing changes it
    /// once it was checked. A file that is damaged is removed.
    pub(crate) fn load(&self, key: &CacheKey) -> Option<File> {
        let path = self.path(key);
        let error = match read(&path, key) {
            Ok(compiled) => return Some(compiled),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => error,
        };
        tracing::warn!(path = %path.display(), "compiled filter not loaded from the cache: {error}");
        if error.kind() == ErrorKind::InvalidData {
            // If it stays, it is replaced by the next that is stored.
            drop(remove(&path));
        }
        None
    }

    /// Keeps what was compiled. Of more than 128 files, or 1 GiB, those go that have not been used for the longest time.
    ///
    /// # Errors
    /// It is not kept, or what is too much could not be removed.
    pub(crate) fn store(&self, key: &CacheKey, compiled: &File) -> io::Result<()> {
        if compiled.metadata()?.len() > BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        // Each RandomState has keys of its own: a hash by it is a random number.
        let random = RandomState::new().hash_one(());
        let temporary = self.folder.join(format!("{key}.{random:016x}{TEMPORARY_SUFFIX}"));
        // There at once and whole, or not at all, whoever else stores the same; a torn file after a power failure has the
        // wrong digest.
        let stored = write(&temporary, key, compiled).and_then(|()| fs::rename(&temporary, self.path(key)));
        if stored.is_err() {
            drop(remove(&temporary));
        }
        stored.and_then(|()| self.trim(FILES_MAX, BYTES_MAX))
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.folder.join(format!("{key}{SUFFIX}"))
    }

    /// Removes the files that have not been used for the longest time, until the others are within the limits.
    fn trim(&self, files_max: usize, bytes_max: u64) -> io::Result<()> {
        let mut files = self.files(SUFFIX)?;
        files.sort_by_key(|(_, metadata)| std::cmp::Reverse(metadata.modified().ok()));
        let mut bytes = 0_u64;
        for (index, (path, metadata)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(metadata.len());
            if index >= files_max || bytes > bytes_max {
                remove(path)?;
            }
        }
        Ok(())
    }

    /// The files whose names end in `suffix`.
    fn files(&self, suffix: &str) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(suffix) {
                match entry.metadata() {
                    Ok(metadata) => files.push((entry.path(), metadata)),
                    // Another process was faster.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(files)
    }
}

/// Whether a file or folder belongs to this process's user, and nobody else may write to it.
fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// Reads a file of the cache, and marks it as used.
///
/// # Errors
/// `InvalidData` for a file that is not as it was written.
fn read(path: &Path, key: &CacheKey) -> io::Result<File> {
    // Neither somewhere else by a link, nor waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    // What is asked of the open file is true of what is read, whatever the name stands for by now.
    if !metadata.is_file() || !is_ours(&metadata) {
        let text = "it is no regular file of the gateway's user that nobody else may write to";
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let damaged = || io::Error::new(ErrorKind::InvalidData, "it is damaged, and was removed");
    let length = metadata.len().checked_sub(HEADER_BYTES as u64).ok_or_else(damaged)?;
    if length > BYTES_MAX {
        return Err(damaged());
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let mut compiled = memory_file("compiled", &[])?;
    if header != copy(&mut (&file).take(length), &mut compiled, key)? {
        return Err(damaged());
    }
    compiled.rewind()?;
    // Best effort: it is only about which one goes first.
    drop(file.set_modified(SystemTime::now()));
    Ok(compiled)
}

fn write(path: &Path, key: &CacheKey, mut compiled: &File) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    compiled.rewind()?;
    // In place of the header, which is known at the end.
    file.write_all(&[0; HEADER_BYTES])?;
    let header = copy(&mut compiled, &mut file, key)?;
    compiled.rewind()?;
    file.write_all_at(&header, 0)
}

/// Copies compiled code piece by piece: it is large, and freed memory of that size does not always leave the process. Returns
/// the header that belongs to it. The key is part of the digest, so that no file serves under another's name.
fn copy(from: &mut impl Read, to: &mut impl Write, key: &CacheKey) -> io::Result<[u8; HEADER_BYTES]> {
    let mut digest = Digest(Context::new(&SHA256));
    digest.write(&key.0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = piece.get(..length).unwrap_or_default();
        digest.write(piece);
        to.write_all(piece)?;
    }
    let mut header = [0; HEADER_BYTES];
    for (byte, part) in header.iter_mut().zip(MAGIC.iter().chain(&digest.end())) {
        *byte = *part;
    }
    Ok(header)
}

/// Removes a file, if it is still there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
