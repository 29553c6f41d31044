//! Compiled modules on disk, so that a start does not repeat the compilations of an earlier one.
//!
//! Loading compiled code means executing it: a file that another user could have written is never loaded. This does not
//! protect against an attacker who can act as the gateway's own user.

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

/// The most bytes of a single file, and of all files together.
const BYTES_MAX: u64 = 1 << 30;

/// Temporary files older than this are abandoned.
const LEFTOVER_AGE: Duration = Duration::from_secs(60 * 60);

/// The beginning of a file: its type, and the version of this format.
const MAGIC: &[u8; 12] = b"gw-cwasm\0\0\0\x01";

/// The length of a header: the magic, and a digest of the key and the content.
const HEADER_BYTES: usize = MAGIC.len() + 32;

/// The most bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

const SUFFIX: &str = ".cwasm";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A folder of compiled modules, which several processes may share. All of its functions block on disk I/O.
pub(crate) struct CodeCache {
    folder: PathBuf,
}

/// The key of a compiled module: a digest of its source and its compiler.
pub(crate) struct CacheKey([u8; 32]);

/// Returns the default folder of the cache: `wasm` in systemd's `$CACHE_DIRECTORY`, or in `gateway` in the user's cache
/// (XDG base directories). Returns `None` if neither is known.
pub(crate) fn default_folder() -> Option<PathBuf> {
    folder_by(|name| std::env::var_os(name))
}

fn folder_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // A relative path counts as unset, as the XDG specification requires. So does an empty one.
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
    /// Returns the key of the code that `engine` generates from `wasm`. The hash of `engine` must differ between
    /// engines that cannot run each other's code.
    pub(crate) fn new(wasm: &[u8], engine: &impl Hash) -> Self {
        let mut digest = Digest(Context::new(&SHA256));
        // The hash includes the length, so that bytes of one part cannot pass for bytes of the other.
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

/// A hasher that computes SHA-256.
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

    /// Unused, because eight bytes would not be enough.
    fn finish(&self) -> u64 {
        0
    }
}

impl CodeCache {
    /// Opens the cache in `folder`, creates the folder if it does not exist, and removes files that writers left
    /// unfinished.
    ///
    /// # Errors
    /// Fails if the folder cannot be created, if another user owns it, or if another user may write to it.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if !is_ours(&fs::metadata(folder)?) {
            let text = "the cache of compiled filters must belong to the user that the gateway runs as, and no other user \
                        may write to it, because the gateway executes its content";
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

    /// Returns the module stored for `key` if it is present and intact. It is a private copy in memory, so that nothing
    /// changes it after the check. A damaged file is removed.
    pub(crate) fn load(&self, key: &CacheKey) -> Option<File> {
        let path = self.path(key);
        let error = match read(&path, key) {
            Ok(compiled) => return Some(compiled),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => error,
        };
        tracing::warn!(path = %path.display(), "compiled filter not loaded from the cache: {error}");
        if error.kind() == ErrorKind::InvalidData {
            // If the file stays, the next store replaces it.
            drop(remove(&path));
        }
        None
    }

    /// Stores a compiled module. Beyond 128 files or 1 GiB, the least recently used files are removed.
    ///
    /// # Errors
    /// Fails if the module could not be stored, or if excess files could not be removed.
    pub(crate) fn store(&self, key: &CacheKey, compiled: &File) -> io::Result<()> {
        if compiled.metadata()?.len() > BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        // Each RandomState has its own keys, so its hash is a random number.
        let random = RandomState::new().hash_one(());
        let temporary = self.folder.join(format!("{key}.{random:016x}{TEMPORARY_SUFFIX}"));
        // The rename is atomic, even if another process stores the same module. A file torn by a power failure has the
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

    /// Removes the least recently used files until the others are within the limits.
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

    /// Returns the files whose names end in `suffix`.
    fn files(&self, suffix: &str) -> io::Result<Vec<(PathBuf, Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(suffix) {
                match entry.metadata() {
                    Ok(metadata) => files.push((entry.path(), metadata)),
                    // Another process has already removed the file.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(files)
    }
}

/// Returns true if a file or folder belongs to this process's user and no other user may write to it.
fn is_ours(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0
}

/// Reads a file of the cache, and marks it as used.
///
/// # Errors
/// Fails with `InvalidData` if the file is not as it was written.
fn read(path: &Path, key: &CacheKey) -> io::Result<File> {
    // Follow no link to another place, and do not block on the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    // The metadata are those of the open file, so the checks hold for what is read, even if the name now refers to
    // another file.
    if !metadata.is_file() || !is_ours(&metadata) {
        let text = "it is not a regular file that only the gateway's user may write to";
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
    // Best effort: this only affects the order of eviction.
    drop(file.set_modified(SystemTime::now()));
    Ok(compiled)
}

fn write(path: &Path, key: &CacheKey, mut compiled: &File) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    compiled.rewind()?;
    // Placeholder for the header, which is known at the end.
    file.write_all(&[0; HEADER_BYTES])?;
    let header = copy(&mut compiled, &mut file, key)?;
    compiled.rewind()?;
    file.write_all_at(&header, 0)
}

/// Copies compiled code piece by piece: it is large, and freed memory of that size does not always leave the process.
/// Returns the matching header. The key is part of the digest, so that a file is not valid under another name.
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

/// Removes a file if it still exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
