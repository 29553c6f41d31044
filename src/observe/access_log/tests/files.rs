//! Files: appending, reopening and rotation.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;

fn open(path: &Path) -> AccessLog {
    open_with(path, "")
}

fn open_with(path: &Path, more: &str) -> AccessLog {
    AccessLog::open(&settings(&format!("{{ output: {}{more} }}", path.display())), &[], None).unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Writes a line with a number, and waits until it is in the file at the path.
fn write_numbered(log: &AccessLog, number: usize, path: &Path) {
    let target = format!("/{number}");
    log.write(&Entry { target: target.as_bytes(), ..answered_from_upstream() });
    let marker = format!("\"target\":\"{target}\"");
    let until = std::time::Instant::now() + PATIENCE;
    while !fs::read_to_string(path).is_ok_and(|text| text.contains(&marker)) {
        assert!(std::time::Instant::now() < until, "line {number} is not in the file");
        std::thread::yield_now();
    }
}

/// Returns the numbers of the lines in a file.
fn numbers(path: &Path) -> Vec<usize> {
    let number = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["target"].as_str().unwrap()[1..].parse().unwrap()
    };
    read(path).lines().map(number).collect()
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// A size for two lines, but not for three.
const TWO_LINES: &str = ", rotate: { size: 900B, keep: 3 }";

#[test]
fn a_file_is_appended_to_and_one_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    for _ in 0..2 {
        let log = open(&path);
        log.write(&answered_from_upstream());
        assert!(log.close(PATIENCE));
    }
    assert_eq!(read(&path).lines().count(), 2);
    let nowhere = settings(&format!("{{ output: {}/none/access.log }}", folder.path().display()));
    assert!(AccessLog::open(&nowhere, &[], None).is_err());
    assert!(check_output(&nowhere).is_err());
}

#[test]
fn a_log_is_current_until_its_file_is_moved_replaced_or_removed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
    let log = open(&path);
    assert!(log.is_current());
    fs::rename(&path, &moved).unwrap();
    assert!(!log.is_current(), "moved");
    let reopened = open(&path);
    assert!(reopened.is_current() && !log.is_current());
    fs::rename(&moved, &path).unwrap();
    assert!(log.is_current() && !reopened.is_current(), "replaced");
    fs::remove_file(&path).unwrap();
    assert!(!log.is_current(), "removed");
    for output in ["stdout", "stderr", "syslog+udp://127.0.0.1"] {
        let log = AccessLog::open(&settings(&format!("{{ output: '{output}' }}")), &[], None).unwrap();
        assert!(log.is_current());
        assert_eq!(log.reopen().unwrap(), Reopened::NoFile);
    }
}

#[test]
fn a_moved_log_continues_in_a_new_file_without_losing_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
    let log = open(&path);
    log.write(&answered_from_upstream());
    fs::rename(&path, &moved).unwrap();
    log.write(&answered_from_upstream());
    assert_eq!(log.reopen().unwrap(), Reopened::Anew);
    assert!(log.is_current());
    // Without a move there is nothing to do.
    assert_eq!(log.reopen().unwrap(), Reopened::Same);
    log.write(&answered_from_upstream());
    assert!(log.close(PATIENCE));
    let [after, before] = [&path, &moved].map(|path| read(path).lines().count());
    assert!(after >= 1 && before + after == 3, "{before} and {after}");

    fs::remove_dir_all(folder.path()).unwrap();
    assert!(log.reopen().is_err());
}

#[test]
fn file_is_rotated_before_it_is_too_large_and_so_many_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open_with(&path, TWO_LINES);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
    // Of a time when more were kept. The last one is not in a row with the others.
    for number in [4, 5, 7] {
        fs::write(numbered(&path, number), "").unwrap();
    }
    for number in 0..9 {
        write_numbered(&log, number, &path);
    }
    let files = [0, 1, 2, 3].map(|number| if number == 0 { path.clone() } else { numbered(&path, number) });
    assert_eq!(files.each_ref().map(|file| numbers(file)), [vec![8], vec![6, 7], vec![4, 5], vec![2, 3]]);
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o777 == 0o604));
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 900));
    assert_eq!([4, 5, 7].map(|number| numbered(&path, number).exists()), [false, false, true]);
    assert!(log.is_current());
    assert_eq!(log.reopen().unwrap(), Reopened::Same);
}

#[test]
fn rotation_fills_a_gap_that_a_crash_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(numbered(&path, 2), "two").unwrap();
    let log = open_with(&path, TWO_LINES);
    for number in 0..3 {
        write_numbered(&log, number, &path);
    }
    assert_eq!((numbers(&numbered(&path, 1)), read(&numbered(&path, 2))), (vec![0, 1], "two".to_owned()));
}

#[test]
fn large_batch_is_spread_over_files_between_lines_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open_with(&path, ", rotate: { size: 2KiB, keep: 1000 }");
    for number in 0..100 {
        let target = format!("/{number}");
        log.write(&Entry { target: target.as_bytes(), ..answered_from_upstream() });
    }
    log.write(&Entry { target: b"/999", user_agent: Some(&[b'a'; 5000]), ..answered_from_upstream() });
    log.write(&Entry { target: b"/100", ..answered_from_upstream() });
    assert!(log.close(PATIENCE));
    let earlier = (1..).map(|number| numbered(&path, number)).take_while(|file| file.exists());
    let files: Vec<PathBuf> = std::iter::once(path.clone()).chain(earlier).collect();
    assert!(files.len() > 10, "{}", files.len());
    let all: Vec<usize> = files.iter().rev().flat_map(|file| numbers(file)).collect();
    assert_eq!(all, (0..100).chain([999, 100]).collect::<Vec<_>>());
    let too_large: Vec<_> = files.iter().filter(|file| fs::metadata(file).unwrap().len() > 2048).collect();
    assert_eq!(too_large.len(), 1);
    assert_eq!(numbers(too_large[0]), [999]);
}

#[test]
fn file_that_another_program_has_moved_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let moved = folder.path().join("moved");
    let log = open_with(&path, TWO_LINES);
    write_numbered(&log, 0, &path);
    fs::rename(&path, &moved).unwrap();
    write_numbered(&log, 1, &moved);
    // The third line does not fit, and the file at the path is another one.
    fs::write(&path, "").unwrap();
    write_numbered(&log, 2, &path);
    assert_eq!((numbers(&moved), numbers(&path)), (vec![0, 1], vec![2]));
    assert!(!numbered(&path, 1).exists() && log.is_current());
}

#[test]
fn two_logs_that_rotate_one_file_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let logs = [(); 2].map(|()| open_with(&path, ", rotate: { size: 1KiB, keep: 1000 }"));
    std::thread::scope(|scope| {
        for (index, log) in logs.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..200 {
                    let target = format!("/{}", index * 200 + number);
                    log.write(&Entry { target: target.as_bytes(), ..answered_from_upstream() });
                    if number % 10 == 0 {
                        std::thread::park_timeout(Duration::from_millis(11));
                    }
                }
            });
        }
    });
    assert!(logs.iter().all(|log| log.close(PATIENCE)));
    let earlier = (1..).map(|number| numbered(&path, number)).take_while(|file| file.exists());
    let mut all: Vec<usize> =
        std::iter::once(path.clone()).chain(earlier).flat_map(|file| numbers(&file)).collect();
    all.sort();
    assert_eq!(all, (0..400).collect::<Vec<_>>());
}

#[test]
fn symbolic_link_stays_and_its_file_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let [path, real] = ["access.log", "real.log"].map(|name| folder.path().join(name));
    symlink(&real, &path).unwrap();
    let log = open_with(&path, TWO_LINES);
    for number in 0..3 {
        write_numbered(&log, number, &path);
    }
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!((numbers(&real), numbers(&numbered(&real, 1))), (vec![2], vec![0, 1]));
}

#[test]
fn file_that_cannot_be_rotated_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    // A folder in the place of the earlier file cannot be replaced by a file.
    fs::create_dir(numbered(&path, 1)).unwrap();
    let log = open_with(&path, ", rotate: { size: 900B, keep: 1 }");
    for number in 0..5 {
        write_numbered(&log, number, &path);
    }
    assert_eq!(numbers(&path), [0, 1, 2, 3, 4]);
    assert_eq!(log.counts().all_dropped(), 0);
}

#[test]
fn only_regular_files_are_rotated() {
    let device = settings("{ output: /dev/null, rotate: { size: 1KiB } }");
    assert!(check_output(&device).is_err() && AccessLog::open(&device, &[], None).is_err());
    let device = settings("{ output: /dev/null }");
    assert!(check_output(&device).is_ok() && AccessLog::open(&device, &[], None).is_ok());
}
