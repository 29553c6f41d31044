//! Receivers of syslog, by real sockets.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;

use super::*;

fn open(receiver: &str) -> AccessLog {
    let settings = settings(&format!("{{ output: 'syslog+{receiver}', fields: [target] }}"));
    AccessLog::open(&settings, &[], None).unwrap()
}

fn write(log: &AccessLog, number: usize) {
    let target = format!("/{number}");
    log.write(&Entry { target: target.as_bytes(), ..answered_from_upstream() });
}

/// Checks the head of a message (RFC 5424 §6) and returns the number in its line.
fn number(message: &str) -> usize {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    let &[priority, time, host, app, process, id, data, line] = parts.as_slice() else { panic!("{message}") };
    assert_eq!((priority, time), ("<134>1", "2026-11-22T20:48:43.000042Z"));
    assert!(!host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()), "{message}");
    assert_eq!((app, process, id, data), ("gateway", &*std::process::id().to_string(), "access", "-"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["target"].as_str().unwrap()[1..].parse().unwrap()
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Reads a message behind its length (RFC 6587 §3.4.1).
fn read_frame(stream: &mut impl BufRead) -> usize {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).unwrap();
    let length: usize = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).unwrap();
    number(std::str::from_utf8(&message).unwrap())
}

#[test]
fn messages_by_udp_are_datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = open(&format!("udp://{}", socket.local_addr().unwrap()));
    for expected in 0..20 {
        write(&log, expected);
        let mut buffer = [0; 9000];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(number(std::str::from_utf8(&buffer[..length]).unwrap()), expected);
    }
    assert!(log.close(PATIENCE));
    assert_eq!(log.counts().all_dropped(), 0);
}

#[test]
fn messages_by_tcp_are_behind_their_lengths_and_follow_a_receiver_that_starts_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let log = open(&format!("tcp://{address}"));
    for number in 0..3 {
        write(&log, number);
    }
    let mut stream = accept(&listener);
    for expected in 0..3 {
        assert_eq!(read_frame(&mut stream), expected);
    }
    // It closes, and comes back at the same address. What is written in between waits.
    drop(stream);
    write(&log, 3);
    let mut stream = accept(&listener);
    assert_eq!(read_frame(&mut stream), 3);
    drop((stream, listener));
    for number in 4..2000 {
        write(&log, number);
    }
    let listener = TcpListener::bind(address).unwrap();
    let mut stream = accept(&listener);
    for expected in 4..2000 {
        assert_eq!(read_frame(&mut stream), expected);
    }
    assert!(log.close(PATIENCE));
    assert_eq!(log.counts().all_dropped(), 0);
}

#[test]
fn receiver_that_reads_slowly_gets_every_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = open(&format!("tcp://{}", listener.local_addr().unwrap()));
    write(&log, 0);
    let mut stream = accept(&listener);
    // Until neither the sockets nor the buffer hold more.
    let mut lines = 1;
    while log.counts().dropped(Loss::Buffer) == 0 {
        write(&log, lines);
        lines += 1;
    }
    for expected in 0..lines - 1 {
        assert_eq!(read_frame(&mut stream), expected);
    }
    write(&log, 7);
    assert_eq!((read_frame(&mut stream), log.counts().all_dropped()), (7, 1));
}

#[test]
fn lines_for_a_receiver_that_never_comes_are_dropped_and_counted_and_the_log_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&format!("unix://{}/log", folder.path().display()));
    let mut lines = 0;
    while log.counts().dropped(Loss::Buffer) == 0 {
        write(&log, lines);
        lines += 1;
    }
    assert!(lines > 1000, "{lines}");
    assert!(log.close(PATIENCE));
    assert_eq!(log.counts().all_dropped(), lines as u64);
}

#[test]
fn messages_by_a_unix_socket_are_datagrams_and_wait_for_a_socket_that_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = open(&format!("unix://{}", path.display()));
    write(&log, 0);
    let receive = |socket: &UnixDatagram| {
        let mut buffer = [0; 9000];
        let length = socket.recv(&mut buffer).unwrap();
        number(std::str::from_utf8(&buffer[..length]).unwrap())
    };
    let bind = || {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let socket = bind();
    assert_eq!(receive(&socket), 0);
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    // More than the queue of a socket holds.
    for number in 1..200 {
        write(&log, number);
    }
    let socket = bind();
    for expected in 1..200 {
        assert_eq!(receive(&socket), expected);
    }
    assert!(log.close(PATIENCE));
    assert_eq!(log.counts().all_dropped(), 0);
}

#[test]
fn datagrams_that_a_receiver_refuses_are_counted() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let log = open(&format!("udp://{address}"));
    let until = std::time::Instant::now() + PATIENCE;
    while log.counts().dropped(Loss::Output) == 0 {
        assert!(std::time::Instant::now() < until, "no line is counted");
        write(&log, 0);
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
