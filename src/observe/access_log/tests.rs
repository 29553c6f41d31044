use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::UNIX_EPOCH;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A sink that passes on what is written to it, and fails when the receiver is gone.
struct Sink(SyncSender<Vec<u8>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_to_sink(format: LogFormat) -> (AccessLog, Receiver<Vec<u8>>) {
    let (sender, receiver) = sync_channel(1000);
    (AccessLog::to_sink(format, Box::new(Sink(sender)), Output::Stream("stdout")).unwrap(), receiver)
}

/// Returns everything that was written until the log was closed.
fn written(log: &AccessLog, receiver: &Receiver<Vec<u8>>) -> String {
    assert!(log.close(PATIENCE), "the log did not end");
    String::from_utf8(receiver.try_iter().flatten().collect()).unwrap()
}

fn answered_from_upstream() -> Entry<'static> {
    Entry {
        started: UNIX_EPOCH + Duration::from_micros(1_795_380_523_000_042),
        client: Some(Ipv4Addr::LOCALHOST.into()),
        listener: "web",
        method: "GET",
        target: b"/spike?v=2",
        version: http::Version::HTTP_11,
        host: Some(b"localhost:8080"),
        status: 200,
        grpc_status: None,
        route: Some("spike"),
        endpoint: Some("127.0.0.1:3000"),
        reused: Some(true),
        attempts: 1,
        request_bytes: 0,
        response_bytes: 1024,
        acquire: Some(Duration::from_nanos(12_999)),
        connect: None,
        first_byte: Some(Duration::from_micros(1_200)),
        total: Duration::from_micros(61_000_001),
        error: None,
        user_agent: Some(b"curl/8"),
        auth: None,
        identity: None,
        request_id: None,
        trace_id: None,
        span_id: None,
        referer: None,
    }
}

/// A request without a route whose client tries to forge a line of its own.
fn forged() -> Entry<'static> {
    Entry {
        target: b"/\" 200 1\n\\\x1b[2J\xff",
        host: None,
        status: 0,
        grpc_status: None,
        route: None,
        endpoint: None,
        reused: None,
        attempts: 0,
        response_bytes: 0,
        acquire: None,
        first_byte: None,
        error: Some("request.target"),
        user_agent: Some("é\r\n".as_bytes()),
        ..answered_from_upstream()
    }
}

#[test]
fn every_field_of_a_json_line_is_documented() {
    let (_, documented) = include_str!("../../../docs/operation.md").split_once("## The access log").unwrap();
    let (log, receiver) = log_to_sink(LogFormat::Json);
    let second = Duration::from_secs(1);
    let mut record = answered_from_upstream();
    (record.connect, record.error, record.referer) = (Some(second), Some("timeouts.idle"), Some(&b"a"[..]));
    log.write(&record);
    let line: serde_json::Value = serde_json::from_str(&written(&log, &receiver)).unwrap();
    let fields: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 21, "all that there are: {fields:?}");
    for field in fields {
        assert!(documented.contains(&format!("`{field}`")), "{field}");
    }
}

#[test]
fn json_lines_are_these() {
    let (log, receiver) = log_to_sink(LogFormat::Json);
    log.write(&answered_from_upstream());
    log.write(&forged());
    assert_eq!(
        written(&log, &receiver).lines().collect::<Vec<_>>(),
        [
            concat!(
                r#"{"time":"2026-11-22T20:48:43.000042Z","client":"127.0.0.1","listener":"web","method":"GET","#,
                r#""target":"/spike?v=2","version":"HTTP/1.1","host":"localhost:8080","status":200,"#,
                r#""route":"spike","endpoint":"127.0.0.1:3000","reused":true,"attempts":1,"request_bytes":0,"#,
                r#""response_bytes":1024,"acquire_ms":0.012,"first_byte_ms":1.2,"total_ms":61000.001,"#,
                r#""user_agent":"curl/8"}"#,
            ),
            concat!(
                r#"{"time":"2026-11-22T20:48:43.000042Z","client":"127.0.0.1","listener":"web","method":"GET","#,
                r#""target":"/\" 200 1\n\\\u001b[2J�","version":"HTTP/1.1","status":0,"attempts":0,"#,
                r#""request_bytes":0,"response_bytes":0,"total_ms":61000.001,"error":"request.target","#,
                r#""user_agent":"é\r\n"}"#,
            ),
        ]
    );
}

#[test]
fn common_lines_are_these() {
    let (log, receiver) = log_to_sink(LogFormat::Common);
    log.write(&answered_from_upstream());
    log.write(&forged());
    assert_eq!(
        written(&log, &receiver).lines().collect::<Vec<_>>(),
        [
            concat!(
                r#"127.0.0.1 - - [22/Nov/2026:20:48:43 +0000] "GET /spike?v=2 HTTP/1.1" 200 1024 "-" "curl/8" "#,
                r#"listener="web" host="localhost:8080" route="spike" endpoint="127.0.0.1:3000" reused=true "#,
                r#"attempts=1 request_bytes=0 acquire_ms=0.012 connect_ms=- first_byte_ms=1.200 "#,
                r#"total_ms=61000.001 error=-"#,
            ),
            concat!(
                r#"127.0.0.1 - - [22/Nov/2026:20:48:43 +0000] "GET /\x22 200 1\x0A\x5C\x1B[2J\xFF HTTP/1.1" 000 0 "#,
                r#""-" "\xC3\xA9\x0D\x0A" listener="web" host="-" route="-" endpoint="-" reused=- attempts=0 "#,
                r#"request_bytes=0 acquire_ms=- connect_ms=- first_byte_ms=- total_ms=61000.001 "#,
                r#"error=request.target"#,
            ),
        ]
    );
}

#[test]
fn a_line_comes_out_without_another_one_pushing_it() {
    let (log, receiver) = log_to_sink(LogFormat::Json);
    for _ in 0..3 {
        log.write(&answered_from_upstream());
        let line = receiver.recv_timeout(PATIENCE).expect("a written line");
        assert_eq!(line.last(), Some(&b'\n'));
    }
}

#[test]
fn the_lines_of_all_threads_are_written_before_the_log_has_closed() {
    let (log, receiver) = log_to_sink(LogFormat::Json);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| log.write(&answered_from_upstream())));
        }
    });
    assert_eq!(log.dropped(), 0);
    let text = written(&log, &receiver);
    assert_eq!(text.lines().count(), 2000);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn lines_that_find_their_buffer_full_are_dropped_and_counted() {
    // There is no receiver: the writer blocks on the first buffer, as on a pipe without a reader.
    let (sender, receiver) = sync_channel(0);
    let log = AccessLog::to_sink(LogFormat::Json, Box::new(Sink(sender)), Output::Stream("stdout")).unwrap();
    while log.dropped() == 0 {
        log.write(&answered_from_upstream());
    }
    assert!(!log.close(Duration::from_millis(1)), "it closed with a buffer still to be written");
    drop(receiver);
    assert!(log.close(PATIENCE));
}

#[test]
fn a_reader_that_is_gone_ends_the_log_and_nothing_else() {
    let (log, receiver) = log_to_sink(LogFormat::Json);
    drop(receiver);
    log.write(&answered_from_upstream());
    assert!(log.close(PATIENCE));
    log.write(&answered_from_upstream());
    assert_eq!(log.dropped(), 2);
}

#[test]
fn a_file_is_appended_to_and_one_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    for _ in 0..2 {
        let log = AccessLog::open(LogFormat::Json, &LogOutput::File(path.clone())).unwrap();
        log.write(&answered_from_upstream());
        assert!(log.close(PATIENCE));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert!(
        AccessLog::open(LogFormat::Json, &LogOutput::File(folder.path().join("none/access.log"))).is_err()
    );
}

#[test]
fn the_last_clone_ends_the_writer_after_the_last_line() {
    let (log, receiver) = log_to_sink(LogFormat::Json);
    let clone = log.clone();
    drop(log);
    clone.write(&answered_from_upstream());
    assert!(receiver.recv_timeout(PATIENCE).is_ok(), "one clone is enough to go on");
    for _ in 0..100 {
        clone.write(&answered_from_upstream());
    }
    drop(clone);
    // The channel closes with the thread, which had the only sender.
    let mut text = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(bytes) => text.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the writer's thread did not end"),
        }
    }
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), 100);
}

#[test]
fn a_log_is_current_until_its_file_is_moved_replaced_or_removed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
    let open = || AccessLog::open(LogFormat::Json, &LogOutput::File(path.clone())).unwrap();
    let log = open();
    assert!(log.is_current());
    std::fs::rename(&path, &moved).unwrap();
    assert!(!log.is_current(), "moved");
    let reopened = open();
    assert!(reopened.is_current() && !log.is_current());
    std::fs::rename(&moved, &path).unwrap();
    assert!(log.is_current() && !reopened.is_current(), "replaced");
    std::fs::remove_file(&path).unwrap();
    assert!(!log.is_current(), "removed");
    for output in [LogOutput::Stdout, LogOutput::Stderr] {
        assert!(AccessLog::open(LogFormat::Json, &output).unwrap().is_current());
    }
}

#[test]
fn a_moved_log_continues_in_a_new_file_without_losing_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
    let log = AccessLog::open(LogFormat::Json, &LogOutput::File(path.clone())).unwrap();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    log.write(&answered_from_upstream());
    std::fs::rename(&path, &moved).unwrap();
    log.write(&answered_from_upstream());
    log.reopen().unwrap();
    assert!(log.is_current());
    // Without a move there is nothing to do.
    log.reopen().unwrap();
    log.write(&answered_from_upstream());
    assert!(log.close(PATIENCE));
    let [after, before] = [&path, &moved].map(|path| read(path).lines().count());
    assert!(after >= 1 && before + after == 3, "{before} and {after}");

    std::fs::remove_dir_all(folder.path()).unwrap();
    assert!(log.reopen().is_err());
}
