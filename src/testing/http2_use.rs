//! The use of an HTTP/2 connection while any peer's bytes arrive, on either side, by a script that is part of these bytes.

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::http2::{LIMITS, requests};
use crate::http::fields::Fields;
use crate::http::h2::{Code, Connection, Event, Part, StreamKey};

/// The size of the largest piece.
const PIECE_BYTES: usize = 64;

/// The largest data that is sent at once.
const DATA_BYTES: usize = 20_000;

/// The output from which the peer is taken to read nothing more.
const OUTPUT_BYTES: usize = 1 << 20;

/// Uses a server's connection.
pub(crate) fn serve(opening: &[u8], bytes: &[u8]) {
    let server = Connection::server(LIMITS, Instant::now());
    Use { connection: server, streams: Vec::new() }.run(opening, bytes);
}

/// Uses a client's connection that has opened requests.
pub(crate) fn request(opening: &[u8], bytes: &[u8]) {
    let mut client = Connection::client(LIMITS, Instant::now());
    let streams = requests(&mut client);
    Use { connection: client, streams }.run(opening, bytes);
}

struct Use {
    connection: Connection,
    streams: Vec<StreamKey>,
}

impl Use {
    /// Receives pieces. Between two of them, the last byte of the first one says what is done.
    fn run(mut self, opening: &[u8], bytes: &[u8]) {
        let now = Instant::now();
        let mut rest = bytes;
        let mut is_open = self.connection.receive(Bytes::copy_from_slice(opening), now).is_ok();
        self.see_events();
        while let Some((size, after)) = rest.split_first().filter(|_| is_open) {
            let (piece, after) = after.split_at((usize::from(*size) % PIECE_BYTES).min(after.len()));
            rest = after;
            is_open = self.connection.receive(Bytes::copy_from_slice(piece), now).is_ok();
            self.see_events();
            self.act(*size, piece.last().copied().unwrap_or_default());
            self.check();
        }
        self.connection.lose();
        self.see_events();
        for (at, key) in std::mem::take(&mut self.streams).into_iter().enumerate() {
            // The other streams go with the data that nothing has taken from them.
            while at.is_multiple_of(2)
                && matches!(self.connection.take(key), Some(Part::Data(_) | Part::Trailers(_)))
            {}
            self.connection.release(key);
        }
        assert_eq!((self.connection.open(), self.connection.held()), (0, 0), "a stream was not let go");
        self.write();
    }

    fn see_events(&mut self) {
        while let Some(event) = self.connection.event() {
            if let Event::Request(key, _) = event {
                self.streams.push(key);
            }
        }
    }

    /// Does what `action` says, on the stream that `which` chooses.
    fn act(&mut self, which: u8, action: u8) {
        let connection = &mut self.connection;
        let at = usize::from(which / 64);
        let Some(key) = self.streams.get(at % self.streams.len().max(1)).copied() else {
            return self.write();
        };
        match action % 12 {
            0 => while let Some(Part::Data(_)) = connection.take(key) {},
            1 => drop(connection.take(key)),
            2 => drop(connection.take_whole(key)),
            3 => {
                connection.release(key);
                self.streams.retain(|stream| *stream != key);
            }
            4 => connection.reset(key, Code::CANCEL),
            5 => connection.respond(key, StatusCode::OK, &Fields::new(), None, which.is_multiple_of(2)),
            6 => connection.interim(key, StatusCode::EARLY_HINTS, &Fields::new()),
            7 => {
                let size = usize::from(which) * DATA_BYTES / 256;
                connection.data(key, vec![b'x'; size].into(), which.is_multiple_of(2));
            }
            8 => connection.trailers(key, Fields::new()),
            9 => connection.ping(),
            10 if which == 0 => connection.announce_end(),
            11 if which == 0 => connection.end(Code::NO_ERROR, ""),
            _ => self.write(),
        }
    }

    /// Writes what waits, in part or whole.
    fn write(&mut self) {
        loop {
            self.connection.schedule();
            let waiting = self.connection.waiting();
            if waiting == 0 {
                return;
            }
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let filled = self.connection.output(&mut slices);
            let length: usize = slices.iter().take(filled).map(|slice| slice.len()).sum();
            assert!(length > 0 && length <= waiting, "{length} of {waiting} bytes");
            self.connection.written(length.div_ceil(2));
        }
    }

    fn check(&self) {
        let held = self.connection.held();
        assert!(held <= LIMITS.connection_window, "{held} bytes are held");
        let waiting = self.connection.waiting();
        assert!(waiting <= OUTPUT_BYTES, "{waiting} bytes wait");
        let open = self.connection.open();
        let max = LIMITS.max_streams as usize * 2;
        assert!(open <= max, "{open} streams are open");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::http2::tests::{BLOCKS, RESPONSES, frame};
    use super::super::http2::{OPENING, SERVER_OPENING};
    use super::*;

    /// Cuts frames into pieces, each behind its size.
    fn scripted(frames: &[Vec<u8>], sizes: &[u8]) -> Vec<u8> {
        let (bytes, mut script, mut sizes) = (frames.concat(), Vec::new(), sizes.iter().cycle());
        let mut rest = &bytes[..];
        while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
            let (piece, after) = rest.split_at((usize::from(*size) % PIECE_BYTES).min(rest.len()));
            script.push(*size);
            script.extend_from_slice(piece);
            rest = after;
        }
        script
    }

    proptest! {
        #[test]
        fn http2_connections_of_both_sides_let_go_of_what_they_hold(
            requests in prop::collection::vec(frame(BLOCKS), 0..30),
            responses in prop::collection::vec(frame(RESPONSES), 0..30),
            sizes in prop::collection::vec(any::<u8>().prop_filter("a size", |size| size % 64 > 0), 1..20),
        ) {
            serve(OPENING, &scripted(&requests, &sizes));
            request(SERVER_OPENING, &scripted(&responses, &sizes));
        }
    }
}
