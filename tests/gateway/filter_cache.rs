//! Compiled modules on disk: used by the next start, and never where anything is wrong with them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use support::{Gateway, Origin};

use crate::PROGRAM;
use crate::filter_script::{CONTINUE, on, script, set};

async fn start(origin: &Origin, cache: &Path, module: &[u8]) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
wasm: {{ cache: {} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [{{ wasm: test.wasm }}] }}]",
        cache.display(),
        origin.url()
    );
    Gateway::builder(PROGRAM, config).file("test.wasm", module).start().await
}

async fn works(gateway: &Gateway) {
    assert_eq!(gateway.client("web").await.get("/").await.header("x-filtered"), Some("yes"));
}

/// The only file of the cache, and which one that is: another one of the same name has another number.
fn the_file(cache: &Path) -> (PathBuf, u64, Vec<u8>) {
    let files: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    (file.clone(), fs::metadata(file).unwrap().ino(), fs::read(file).unwrap())
}

fn module() -> Vec<u8> {
    script(&on("response_headers", &format!("{} {CONTINUE}", set("(i32.const 2)", "x-filtered", "yes"))))
}

#[tokio::test]
async fn a_second_start_uses_what_the_first_has_compiled() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let cache = folder.path().join("cache");
    works(&start(&origin, &cache, &module()).await).await;
    let first = the_file(&cache);
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&first.0).unwrap().permissions().mode() & 0o777, 0o600);
    works(&start(&origin, &cache, &module()).await).await;
    assert!(the_file(&cache) == first, "it was written again");
    // Another module has a file of its own.
    let other = script(&on(
        "response_headers",
        &format!("{} {CONTINUE}", set("(i32.const 2)", "x-filtered", "yes").repeat(2)),
    ));
    works(&start(&origin, &cache, &other).await).await;
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 2);
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_is_not_used() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let cache = folder.path().join("cache");
    works(&start(&origin, &cache, &module()).await).await;
    let (file, _, whole) = the_file(&cache);
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (what, content) in [("cut", &whole[..whole.len() - 1]), ("changed", &flipped), ("empty", &[])] {
        fs::write(&file, content).unwrap();
        let gateway = start(&origin, &cache, &module()).await;
        works(&gateway).await;
        gateway.wait_for_log("it is damaged").await;
        assert!(the_file(&cache).2 == whole, "{what}: compiled again, it is as it was");
    }
}

#[tokio::test]
async fn a_file_that_others_can_write_is_not_used() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let cache = folder.path().join("cache");
    works(&start(&origin, &cache, &module()).await).await;
    let (file, number, _) = the_file(&cache);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let gateway = start(&origin, &cache, &module()).await;
    works(&gateway).await;
    gateway.wait_for_log("only the gateway's user may write to").await;
    let (_, after, _) = the_file(&cache);
    assert_ne!(after, number, "another one has taken its place");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_folder_that_others_can_write_is_not_used_and_the_start_works_all_the_same() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let gateway = start(&origin, &cache, &module()).await;
    works(&gateway).await;
    gateway.wait_for_log("compiled filters are not kept").await;
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    // No folder at all: something else has the name.
    let taken = folder.path().join("file");
    fs::write(&taken, "").unwrap();
    let gateway = start(&origin, &taken, &module()).await;
    works(&gateway).await;
    gateway.wait_for_log("compiled filters are not kept").await;
}
