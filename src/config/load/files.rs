//! The files that a configuration names, read once per load and identified by their content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// The largest file that is read: far more than ten thousand routes need, and too small to fill the memory by accident.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// The files of one load. Everything that is built from them sees the same content, even while they are being replaced.
///
/// It holds private keys. Drop it at the end of the load, and keep its [`Fingerprint`].
#[derive(Default)]
pub(crate) struct Files(Mutex<BTreeMap<PathBuf, Seen>>);

/// The result of the only reading of a file.
struct Seen {
    content: Result<Arc<[u8]>, Failure>,
    known: Known,
}

/// The identity of a file as it was read, and the limit of the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    mark: FileMark,
    bytes_max: u64,
}

/// An [`io::Error`] that can be returned more than once.
enum Failure {
    System(i32),
    Other(io::ErrorKind, String),
}

/// The identity of what was read at a path: a content, or no readable file. It is small and can be a part of other
/// identities, as in "this CA file with this content".
///
/// The content is represented by its length and 64 bits of SipHash under a random key of this process. That is enough
/// to distinguish versions of an operator's own file, and reveals nothing from which a private key could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileMark(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Content { bytes: usize, hash: u64 },
    Unreadable(io::ErrorKind),
}

/// The paths that were read, each with its mark. Two fingerprints are equal if the same paths had the same content,
/// read within the same limits. Modification times do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<PathBuf, Known>);

impl Files {
    /// Creates a set without files.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns the content of a file as it was at the first reading.
    ///
    /// # Errors
    /// The error of the system, the same on each call; [`io::ErrorKind::FileTooLarge`] above 16 MiB.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.read_within(path, FILE_BYTES_MAX)
    }

    /// Returns the content of a file of at most `bytes_max` bytes. The limit applies unless the file was read before.
    pub(crate) fn read_within(&self, path: &Path, bytes_max: u64) -> io::Result<Arc<[u8]>> {
        self.seen(path, bytes_max, |seen| match &seen.content {
            Ok(content) => Ok(Arc::clone(content)),
            Err(failure) => Err(failure.to_error()),
        })
    }

    /// Sets the content at a path, whatever is on disk there.
    pub(crate) fn give(&self, path: &Path, content: &[u8]) {
        self.lock().insert(path.to_owned(), Seen::new(Ok(content.to_vec()), FILE_BYTES_MAX));
    }

    /// Returns the mark of a path, and reads the file if it was not read yet.
    pub(crate) fn mark(&self, path: &Path) -> FileMark {
        self.mark_within(path, FILE_BYTES_MAX)
    }

    /// Returns the mark of a file of at most `bytes_max` bytes, with the limit of [`Files::read_within`].
    pub(crate) fn mark_within(&self, path: &Path, bytes_max: u64) -> FileMark {
        self.seen(path, bytes_max, |seen| seen.known.mark)
    }

    /// Returns the fingerprint of everything that was read so far.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.lock().iter().map(|(path, seen)| (path.clone(), seen.known)).collect())
    }

    fn seen<T>(&self, path: &Path, bytes_max: u64, answer: impl FnOnce(&Seen) -> T) -> T {
        let mut files = self.lock();
        if let Some(seen) = files.get(path) {
            return answer(seen);
        }
        answer(files.entry(path.to_owned()).or_insert_with(|| Seen::new(read(path, bytes_max), bytes_max)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Seen>> {
        // An entry is complete or missing, so the map is valid even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn new(content: io::Result<Vec<u8>>, bytes_max: u64) -> Self {
        let known = Known { mark: FileMark::of(&content), bytes_max };
        Self { known, content: content.map(Arc::from).map_err(Failure::from) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Other(error.kind(), error.to_string()), Self::System)
    }
}

impl Failure {
    fn to_error(&self) -> io::Error {
        match self {
            Self::System(code) => io::Error::from_raw_os_error(*code),
            Self::Other(kind, says) => io::Error::new(*kind, says.clone()),
        }
    }
}

impl FileMark {
    fn of(content: &io::Result<Vec<u8>>) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(match content {
            Ok(content) => State::Content { bytes: content.len(), hash: KEY.hash_one(content) },
            Err(error) => State::Unreadable(error.kind()),
        })
    }

    /// Returns true if there was nothing at the path.
    pub(crate) fn is_missing(self) -> bool {
        self.0 == State::Unreadable(io::ErrorKind::NotFound)
    }
}

impl Fingerprint {
    /// Returns the paths that were read, in order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Returns the mark of a path, if it was read.
    pub(crate) fn mark(&self, path: &Path) -> Option<FileMark> {
        self.0.get(path).map(|known| known.mark)
    }

    /// Reads the same paths again, and returns their present fingerprint.
    ///
    /// A pipe or terminal is not read again, because it is already empty. It counts as unchanged.
    pub(crate) fn again(&self) -> Self {
        let again = |(path, known): (&PathBuf, &Known)| {
            let mark = match gives_its_content_once(path) {
                true => known.mark,
                false => FileMark::of(&read(path, known.bytes_max)),
            };
            (path.clone(), Known { mark, ..*known })
        };
        Self(self.0.iter().map(again).collect())
    }
}

fn gives_its_content_once(path: &Path) -> bool {
    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device() || kind.is_socket())
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_all(File::open(path)?, bytes_max)
}

/// Reads a source to its end, which comes after at most `bytes_max` bytes.
pub(super) fn read_all(source: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // The length that the system reports is no guide: a file that grows or never ends, such as a device, has another.
    source.take(bytes_max.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= bytes_max) {
        return Ok(content);
    }
    let says = match bytes_max >> 20 {
        0 => format!("larger than {bytes_max} bytes"),
        mebibytes => format!("larger than {mebibytes} MiB"),
    };
    Err(io::Error::new(io::ErrorKind::FileTooLarge, says))
}

// Contents may be secret, so only the fingerprint is shown.
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Files").field(&self.fingerprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark_of(path: &Path) -> FileMark {
        Files::new().mark(path)
    }

    fn mark_within(path: &Path, bytes_max: u64) -> FileMark {
        Files::new().mark_within(path, bytes_max)
    }

    #[test]
    fn a_file_is_read_once_even_if_it_changes_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "first").unwrap();
        let files = Files::new();
        assert_eq!(*files.read(&path).unwrap(), *b"first");
        let mark = files.mark(&path);
        fs::write(&path, "other").unwrap();
        assert_eq!(*files.read(&path).unwrap(), *b"first");
        assert_eq!(files.mark(&path), mark);
        assert_ne!(mark_of(&path), mark, "of the same length, and another all the same");
    }

    #[test]
    fn a_failure_is_remembered_like_a_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let files = Files::new();
        let first = files.read(&path).unwrap_err();
        fs::write(&path, "now it is there").unwrap();
        let again = files.read(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::NotFound);
        assert_eq!(again.to_string(), first.to_string());
        assert_eq!(files.read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_file_above_the_limit_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MAX).unwrap();
        assert!(Files::new().read(&path).is_ok());
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let files = Files::new();
        for _ in 0..2 {
            let error = files.read(&path).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (io::ErrorKind::FileTooLarge, "larger than 16 MiB")
            );
        }
        assert_eq!(
            Files::new().read(Path::new("/dev/zero")).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn fingerprint_of_a_file_read_within_another_limit_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module");
        File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let files = Files::new();
        assert_eq!(files.mark_within(&path, FILE_BYTES_MAX + 1), mark_within(&path, FILE_BYTES_MAX + 1));
        assert!(files.read(&path).is_ok(), "it was read before, within its own limit");
        assert_eq!(files.fingerprint().again(), files.fingerprint());
        let error = Files::new().read_within(&path, 3).unwrap_err();
        assert_eq!(error.to_string(), "larger than 3 bytes");
    }

    #[test]
    fn a_fingerprint_depends_on_contents_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "one").unwrap();
        let files = Files::new();
        files.read(&a).unwrap();
        files.read(&b).unwrap_err();
        let before = files.fingerprint();
        assert_eq!(before.paths().collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(before.again(), before);
        fs::rename(&a, folder.path().join("c")).unwrap();
        fs::write(&a, "one").unwrap();
        assert_eq!(before.again(), before, "another file with the same content");
        fs::write(&b, "").unwrap();
        let appeared = before.again();
        assert_ne!(appeared, before, "an empty file is not a missing one");
        fs::write(&a, "two").unwrap();
        let changed = appeared.again();
        assert_ne!(changed, appeared);
        assert_eq!(Files::new().fingerprint(), Fingerprint::default());
        assert_ne!(changed, Fingerprint::default());
    }

    #[test]
    fn a_pipe_that_can_be_read_only_once_counts_as_unchanged() {
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"listeners:").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let files = Files::new();
        assert_eq!(*files.read(&path).unwrap(), *b"listeners:");
        assert_eq!(files.fingerprint().again(), files.fingerprint());
    }

    #[test]
    fn debug_output_shows_file_names_and_no_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "secret").unwrap();
        let files = Files::new();
        files.read(&path).unwrap();
        let shown = format!("{files:?}");
        assert!(shown.contains("/key") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"secret")), "{shown}");
    }
}
