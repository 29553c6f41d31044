//! The moment at which gathered lines are written.

use super::super::program::Written;
use super::super::writer::GATHER_BYTES;
use super::*;

/// A time that no test waits for.
const NEVER: Duration = Duration::from_hours(1);

const LINE: &[u8] = b"a line of the log\n";

fn sink() -> (Box<dyn Sink>, Receiver<Vec<u8>>) {
    let (sender, receiver) = sync_channel(1000);
    (Box::new(Stream(Box::new(Channel(sender)))), receiver)
}

fn append(writer: &Writer) {
    writer.append(|bytes, _| {
        bytes.extend_from_slice(LINE);
        Written::Whole
    });
}

#[test]
fn buffer_that_is_worth_a_write_is_written_before_its_time() {
    let (sink, receiver) = sink();
    let writer = Writer::start(sink, Arc::default(), NEVER).unwrap();
    for _ in 0..=GATHER_BYTES / LINE.len() {
        append(&writer);
    }
    let written = receiver.recv_timeout(PATIENCE).unwrap();
    assert!(written.len() >= GATHER_BYTES, "{} bytes were written alone", written.len());
    assert!(written.chunks(LINE.len()).all(|line| line == LINE));
}

#[test]
fn lines_that_gather_go_to_another_sink_as_soon_as_there_is_one() {
    let (before, old) = sink();
    let (after, new) = sink();
    let writer = Writer::start(before, Arc::default(), NEVER).unwrap();
    append(&writer);
    writer.redirect(after);
    assert_eq!(new.recv_timeout(PATIENCE).unwrap(), LINE);
    assert_eq!(old.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "the old sink is kept");
}
