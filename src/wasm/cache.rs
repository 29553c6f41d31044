//! Compiled modules on disk, so that a start does not compile what an earlier one has.
//!
//! Loading compiled code is executing it: what somebody else could have written is never loaded. Nothing of this protects
//! against who can act as the gateway's own user.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::fs::OFlags;

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

    /// What was stored for `key`, if it is there and whole. A file that is damaged is removed.
    pub(crate) fn load(&self, key: &CacheKey) -> Option<Vec<u8>> {
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
    pub(crate) fn store(&self, key: &CacheKey, compiled: &[u8]) -> io::Result<()> {
        if compiled.len() as u64 > BYTES_MAX {
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
fn read(path: &Path, key: &CacheKey) -> io::Result<Vec<u8>> {
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
    let capacity = usize::try_from(length).ok().filter(|_| length <= BYTES_MAX).ok_or_else(damaged)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let mut compiled = Vec::with_capacity(capacity);
    (&file).take(length).read_to_end(&mut compiled)?;
    if header != header_of(key, &compiled) {
        return Err(damaged());
    }
    // Best effort: it is only about which one goes first.
    drop(file.set_modified(SystemTime::now()));
    Ok(compiled)
}

fn write(path: &Path, key: &CacheKey, compiled: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&header_of(key, compiled))?;
    file.write_all(compiled)
}

/// The header of a file. The key is part of the digest, so that no file serves under another's name.
fn header_of(key: &CacheKey, compiled: &[u8]) -> [u8; HEADER_BYTES] {
    let mut digest = Digest(Context::new(&SHA256));
    digest.write(&key.0);
    digest.write(compiled);
    let mut header = [0; HEADER_BYTES];
    for (byte, part) in header.iter_mut().zip(MAGIC.iter().chain(&digest.end())) {
        *byte = *part;
    }
    header
}

/// Removes a file, if it is still there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn key(name: &str) -> CacheKey {
        CacheKey::new(name.as_bytes(), &"engine")
    }

    fn open(folder: &tempfile::TempDir) -> CodeCache {
        CodeCache::open(&folder.path().join("some/wasm")).unwrap()
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_age(path: &Path, seconds: u64) {
        let modified = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(path).unwrap().set_modified(modified).unwrap();
    }

    fn age(path: &Path) -> Duration {
        fs::metadata(path).unwrap().modified().unwrap().elapsed().unwrap_or_default()
    }

    fn names(cache: &CodeCache) -> Vec<String> {
        let entries = fs::read_dir(&cache.folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_stored_is_loaded_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        assert_eq!(mode(&cache.folder), 0o700);
        assert_eq!(cache.load(&key("a")), None);
        for compiled in [&b"first"[..], b"", b"second"] {
            cache.store(&key("a"), compiled).unwrap();
            assert_eq!(cache.load(&key("a")).as_deref(), Some(compiled));
            assert_eq!(open(&folder).load(&key("a")).as_deref(), Some(compiled));
        }
        assert_eq!(cache.load(&key("b")), None);
        assert_eq!(names(&cache), [format!("{}.cwasm", key("a"))], "no temporary files");
        assert_eq!(mode(&cache.path(&key("a"))), 0o600);
    }

    #[test]
    fn keys_tell_modules_and_engines_apart() {
        let known = CacheKey::new(b"ab", &"c");
        for (other, is_same) in [
            (CacheKey::new(b"ab", &"c"), true),
            (CacheKey::new(b"a", &"bc"), false),
            (CacheKey::new(b"abc", &""), false),
            (CacheKey::new(b"ab", &"d"), false),
            (CacheKey::new(b"", &"c"), false),
        ] {
            assert_eq!(known.to_string() == other.to_string(), is_same, "{other}");
        }
        assert_eq!(known.to_string().len(), 64);
        // Nothing of this process: the next one has to find it.
        assert_eq!(CacheKey::new(b"", &0_u8).to_string(), sha256_of_nine_zeros());
    }

    fn sha256_of_nine_zeros() -> String {
        CacheKey(
            Digest({
                let mut context = Context::new(&SHA256);
                context.update(&[0; 9]);
                context
            })
            .end(),
        )
        .to_string()
    }

    #[test]
    fn a_damaged_file_is_removed_instead_of_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        let path = cache.path(&key("a"));
        let damage: [(&str, fn(&mut Vec<u8>)); 7] = [
            ("content", |file| *file.last_mut().unwrap() ^= 1),
            ("digest", |file| file[HEADER_BYTES - 1] ^= 1),
            ("magic", |file| file[0] ^= 1),
            ("version", |file| file[MAGIC.len() - 1] += 1),
            ("cut", |file| file.truncate(HEADER_BYTES + 3)),
            ("cut in its header", |file| file.truncate(HEADER_BYTES - 1)),
            ("empty", Vec::clear),
        ];
        for (what, damage) in damage {
            cache.store(&key("a"), b"compiled").unwrap();
            let mut file = fs::read(&path).unwrap();
            damage(&mut file);
            fs::write(&path, file).unwrap();
            assert_eq!(cache.load(&key("a")), None, "{what}");
            assert!(!path.exists(), "{what}");
        }
        cache.store(&key("b"), b"of another").unwrap();
        fs::rename(cache.path(&key("b")), &path).unwrap();
        assert_eq!(cache.load(&key("a")), None, "it is whole, but another's");
    }

    #[test]
    fn what_others_could_have_written_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        let path = cache.path(&key("a"));
        for (bits, is_loaded) in [(0o644, true), (0o600, true), (0o620, false), (0o602, false)] {
            cache.store(&key("a"), b"compiled").unwrap();
            set_mode(&path, bits);
            assert_eq!(cache.load(&key("a")).is_some(), is_loaded, "{bits:o}");
        }
        cache.store(&key("a"), b"compiled").unwrap();
        assert!(cache.load(&key("a")).is_some(), "storing makes it good again");
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_eq!(cache.load(&key("a")), None, "a link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(cache.load(&key("a")), None, "a folder");
        fs::remove_dir(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        assert!(cache.load(&key("a")).is_some(), "it was all the same file");
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(1), None).unwrap();
            assert_eq!(cache.load(&key("a")), None, "another user's");
        }
    }

    #[test]
    fn a_folder_that_others_could_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (bits, is_used) in [(0o755, true), (0o700, true), (0o770, false), (0o707, false), (0o1777, false)]
        {
            set_mode(folder.path(), bits);
            let opened = CodeCache::open(folder.path()).map(|_| ()).map_err(|error| error.kind());
            let expected = if is_used { Ok(()) } else { Err(ErrorKind::PermissionDenied) };
            assert_eq!(opened, expected, "{bits:o}");
        }
        set_mode(folder.path(), 0o700);
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(1), None).unwrap();
            assert!(CodeCache::open(folder.path()).is_err(), "another user's");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(CodeCache::open(file.path()).is_err(), "a file");
    }

    #[test]
    fn those_unused_for_longest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        for (age, name) in ["new", "middle", "old", "oldest"].into_iter().enumerate() {
            cache.store(&key(name), &[0; 100]).unwrap();
            set_age(&cache.path(&key(name)), 1000 * (age as u64 + 1));
        }
        assert!(cache.load(&key("oldest")).is_some());
        assert!(age(&cache.path(&key("oldest"))) < Duration::from_secs(900), "it was used just now");
        let has = |cache: &CodeCache| {
            ["oldest", "new", "middle", "old"].map(|name| cache.path(&key(name)).exists())
        };
        for (files_max, bytes_max, left) in [
            (4, 4 * (HEADER_BYTES + 100), [true, true, true, true]),
            (3, usize::MAX, [true, true, true, false]),
            (9, 3 * (HEADER_BYTES + 100) - 1, [true, true, false, false]),
            (9, 2 * (HEADER_BYTES + 100), [true, true, false, false]),
            (1, usize::MAX, [true, false, false, false]),
        ] {
            cache.trim(files_max, bytes_max as u64).unwrap();
            assert_eq!(has(&cache), left, "{files_max} files, {bytes_max} bytes");
        }
    }

    #[test]
    fn storing_keeps_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        for number in 0..FILES_MAX {
            cache.store(&key(&number.to_string()), b"x").unwrap();
        }
        set_age(&cache.path(&key("77")), 5);
        cache.store(&key("another"), b"x").unwrap();
        assert_eq!((names(&cache).len(), cache.load(&key("77"))), (FILES_MAX, None));
        assert!(cache.load(&key("another")).is_some());
    }

    #[test]
    fn only_leftovers_that_nobody_writes_any_more_are_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        for (name, seconds) in [("old.tmp", 3700), ("new.tmp", 3500), ("old.other", 9999)] {
            fs::write(cache.folder.join(name), "x").unwrap();
            set_age(&cache.folder.join(name), seconds);
        }
        open(&folder);
        assert_eq!(names(&cache), ["new.tmp", "old.other"]);
    }

    #[test]
    fn a_folder_that_is_gone_fails_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder);
        fs::create_dir(cache.path(&key("a"))).unwrap();
        fs::write(cache.path(&key("a")).join("in the way"), "x").unwrap();
        assert!(cache.store(&key("a"), b"x").is_err());
        assert_eq!(names(&cache).len(), 1, "no temporary file");
        fs::remove_dir_all(&cache.folder).unwrap();
        assert!(cache.store(&key("a"), b"x").is_err());
        assert_eq!(cache.load(&key("a")), None);
    }

    #[test]
    fn the_default_folder_is_the_first_that_is_known() {
        let cases: [(&[(&str, &str)], Option<&str>); 10] = [
            (&[], None),
            (&[("HOME", "/h")], Some("/h/.cache/gateway/wasm")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/gateway/wasm")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")], Some("/h/.cache/gateway/wasm")),
            (&[("XDG_CACHE_HOME", "/x:y")], Some("/x:y/gateway/wasm")),
            (&[("XDG_CACHE_HOME", "/x"), ("CACHE_DIRECTORY", "/c")], Some("/c/wasm")),
            (&[("CACHE_DIRECTORY", "/var/cache/a:/var/cache/b")], Some("/var/cache/a/wasm")),
            (&[("CACHE_DIRECTORY", ""), ("HOME", "/h")], Some("/h/.cache/gateway/wasm")),
            (&[("CACHE_DIRECTORY", "c")], None),
            (&[("HOME", "")], None),
        ];
        for (variables, expected) in cases {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(folder_by(variable), expected.map(PathBuf::from), "{variables:?}");
        }
    }
}
