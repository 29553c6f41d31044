use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::UNIX_EPOCH;

use http::HeaderValue;

use super::*;

mod files;
mod lines;
mod receivers;
mod writing;

const PATIENCE: Duration = Duration::from_secs(60);

/// A sink that passes on what is written to it, and fails when the receiver is gone.
struct Channel(SyncSender<Vec<u8>>);

impl io::Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Settings from a piece of a configuration file.
fn settings(yaml: &str) -> config::AccessLog {
    serde_yaml::from_str(yaml).unwrap()
}

fn to_channel(yaml: &str, sender: SyncSender<Vec<u8>>) -> AccessLog {
    let program = Program::new(&settings(yaml), &[]);
    let sink = Box::new(Stream(Box::new(Channel(sender))));
    AccessLog::to_sink(program, sink, Place::Stream("stdout"), Arc::default()).unwrap()
}

fn log_to_channel(yaml: &str) -> (AccessLog, Receiver<Vec<u8>>) {
    let (sender, receiver) = sync_channel(1000);
    (to_channel(yaml, sender), receiver)
}

/// Returns everything that was written until the log was closed.
fn written(log: &AccessLog, receiver: &Receiver<Vec<u8>>) -> String {
    assert!(log.close(PATIENCE), "the log did not end");
    String::from_utf8(receiver.try_iter().flatten().collect()).unwrap()
}

/// Returns the line of an entry.
fn line(yaml: &str, entry: &Entry<'_>) -> String {
    let (log, receiver) = log_to_channel(yaml);
    log.write(entry);
    written(&log, &receiver).trim_end_matches('\n').to_owned()
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
        request_headers: &[],
        response_headers: &[],
        claims: &[],
    }
}

/// A request without a route whose client tries to forge a line of its own.
fn forged() -> Entry<'static> {
    Entry {
        target: b"/\" 200 1\n\\\x1b[2J\xff",
        host: None,
        status: 0,
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
fn a_line_comes_out_without_another_one_pushing_it() {
    let (log, receiver) = log_to_channel("{}");
    for _ in 0..3 {
        log.write(&answered_from_upstream());
        let line = receiver.recv_timeout(PATIENCE).expect("a written line");
        assert_eq!(line.last(), Some(&b'\n'));
    }
}

#[test]
fn the_lines_of_all_threads_are_written_before_the_log_has_closed() {
    let (log, receiver) = log_to_channel("{}");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| log.write(&answered_from_upstream())));
        }
    });
    assert_eq!(log.counts().all_dropped(), 0);
    let text = written(&log, &receiver);
    assert_eq!(text.lines().count(), 2000);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn lines_that_find_their_buffer_full_are_dropped_and_counted() {
    // There is no receiver: the writer blocks on the first buffer, as on a pipe without a reader.
    let (sender, receiver) = sync_channel(0);
    let log = to_channel("{}", sender);
    while log.counts().dropped(Loss::Buffer) == 0 {
        log.write(&answered_from_upstream());
    }
    assert!(!log.close(Duration::from_millis(1)), "it closed with a buffer still to be written");
    drop(receiver);
    assert!(log.close(PATIENCE));
}

#[test]
fn a_reader_that_is_gone_ends_the_log_and_nothing_else() {
    let (log, receiver) = log_to_channel("{}");
    drop(receiver);
    log.write(&answered_from_upstream());
    assert!(log.close(PATIENCE));
    log.write(&answered_from_upstream());
    let [output, closed] = [Loss::Output, Loss::Closed].map(|loss| log.counts().dropped(loss));
    assert_eq!((output, closed, log.counts().all_dropped()), (1, 1, 2));
}

#[test]
fn the_last_clone_ends_the_writer_after_the_last_line() {
    let (log, receiver) = log_to_channel("{}");
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
fn log_with_the_same_output_has_other_lines_and_the_same_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let open = |more: &str, running: Option<&AccessLog>| {
        AccessLog::open(&settings(&format!("{{ output: {}, {more} }}", path.display())), &[], running)
            .unwrap()
    };
    let log = open("format: json", None);
    log.counts().drop_lines(Loss::Buffer, 3);
    let same = open("format: json", Some(&log));
    let text = open("format: text, fields: [status]", Some(&log));
    let rotated = open("rotate: { size: 1GiB }", Some(&log));
    assert!(Arc::ptr_eq(&log.0, &same.0));
    assert!(!Arc::ptr_eq(&log.0, &text.0) && log.has_same_output(&text) && !log.has_same_output(&rotated));
    assert!([&same, &text, &rotated].iter().all(|log| log.counts().dropped(Loss::Buffer) == 3));
    drop((same, log));
    text.write(&answered_from_upstream());
    assert!(text.close(PATIENCE));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "status=200\n");
}
