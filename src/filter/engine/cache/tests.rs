//! Rules for loading modules from disk.

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

fn store(cache: &CodeCache, name: &str, compiled: &[u8]) -> io::Result<()> {
    cache.store(&key(name), &memory_file("compiled", compiled).unwrap())
}

fn load(cache: &CodeCache, name: &str) -> Option<Vec<u8>> {
    let mut compiled = Vec::new();
    cache.load(&key(name))?.read_to_end(&mut compiled).unwrap();
    Some(compiled)
}

#[test]
fn cache_loads_stored_code_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder);
    assert_eq!(mode(&cache.folder), 0o700);
    assert_eq!(load(&cache, "a"), None);
    for compiled in [&b"first"[..], b"", b"second"] {
        store(&cache, "a", compiled).unwrap();
        assert_eq!(load(&cache, "a").as_deref(), Some(compiled));
        assert_eq!(load(&open(&folder), "a").as_deref(), Some(compiled));
    }
    assert_eq!(load(&cache, "b"), None);
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
    // The key depends on nothing in this process: the next process must find the entry.
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
        store(&cache, "a", b"compiled").unwrap();
        let mut file = fs::read(&path).unwrap();
        damage(&mut file);
        fs::write(&path, file).unwrap();
        assert_eq!(load(&cache, "a"), None, "{what}");
        assert!(!path.exists(), "{what}");
    }
    store(&cache, "b", b"of another").unwrap();
    fs::rename(cache.path(&key("b")), &path).unwrap();
    assert_eq!(load(&cache, "a"), None, "it is whole, but another's");
}

#[test]
fn cache_does_not_load_a_file_that_others_could_have_written() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder);
    let path = cache.path(&key("a"));
    for (bits, is_loaded) in [(0o644, true), (0o600, true), (0o620, false), (0o602, false)] {
        store(&cache, "a", b"compiled").unwrap();
        set_mode(&path, bits);
        assert_eq!(load(&cache, "a").is_some(), is_loaded, "{bits:o}");
    }
    store(&cache, "a", b"compiled").unwrap();
    assert!(load(&cache, "a").is_some(), "storing makes it good again");
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(load(&cache, "a"), None, "a link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(load(&cache, "a"), None, "a folder");
    fs::remove_dir(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert!(load(&cache, "a").is_some(), "it was all the same file");
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(1), None).unwrap();
        assert_eq!(load(&cache, "a"), None, "another user's");
    }
}

#[test]
fn a_folder_that_others_could_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (bits, is_used) in [(0o755, true), (0o700, true), (0o770, false), (0o707, false), (0o1777, false)] {
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
fn cache_evicts_the_least_recently_used_files_first() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(&folder);
    for (age, name) in ["new", "middle", "old", "oldest"].into_iter().enumerate() {
        store(&cache, name, &[0; 100]).unwrap();
        set_age(&cache.path(&key(name)), 1000 * (age as u64 + 1));
    }
    assert!(load(&cache, "oldest").is_some());
    assert!(age(&cache.path(&key("oldest"))) < Duration::from_secs(900), "it was used just now");
    let has =
        |cache: &CodeCache| ["oldest", "new", "middle", "old"].map(|name| cache.path(&key(name)).exists());
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
        store(&cache, &number.to_string(), b"x").unwrap();
    }
    set_age(&cache.path(&key("77")), 5);
    store(&cache, "another", b"x").unwrap();
    assert_eq!((names(&cache).len(), load(&cache, "77")), (FILES_MAX, None));
    assert!(load(&cache, "another").is_some());
}

#[test]
fn only_abandoned_temporary_files_are_removed_from_the_cache() {
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
    assert!(store(&cache, "a", b"x").is_err());
    assert_eq!(names(&cache).len(), 1, "no temporary file");
    fs::remove_dir_all(&cache.folder).unwrap();
    assert!(store(&cache, "a", b"x").is_err());
    assert_eq!(load(&cache, "a"), None);
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
