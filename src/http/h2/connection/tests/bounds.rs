//! Bounds of what a peer can make us do or keep.

use proptest::prelude::*;

use super::*;

#[test]
fn a_header_block_without_end_ends_the_connection() {
    let mut raw = Raw::new();
    raw.frame(Kind::Headers, 0, 1, &[0x40; 1000]).unwrap();
    let error = (0..100).find_map(|_| raw.frame(Kind::Continuation, 0, 1, &[0x40; 1000]).err());
    assert_eq!(error.unwrap().code, Code::ENHANCE_YOUR_CALM);
    let mut raw = Raw::new();
    raw.frame(Kind::Headers, 0, 1, b"").unwrap();
    let sent = (0..10_000).take_while(|_| raw.frame(Kind::Continuation, 0, 1, b"").is_ok()).count();
    assert!(sent < 1000, "{sent}");
}

#[test]
fn floods_end_the_connection_with_their_name() {
    type Flood = fn(&mut Raw, u32) -> Result<(), ConnectionError>;
    let floods: [(&str, Flood); 8] = [
        ("pings", |raw, _| raw.frame(Kind::Ping, flag::ACK, 0, &[0; 8])),
        ("settings", |raw, _| {
            let result = raw.frame(Kind::Settings, 0, 0, &[]);
            raw.frames();
            result
        }),
        ("unread_answers", |raw, _| {
            (0..20).try_for_each(|_| raw.frame(Kind::Ping, 0, 0, &[0; 8])).and(Ok(()))
        }),
        ("useless_frames", |raw, _| raw.frame(Kind::Priority, 0, 1, &[0, 0, 0, 9, 0])),
        ("useless_frames", |raw, _| raw.frame(Kind::Unknown(77), 0, 1, &[0; 5])),
        ("window_updates", |raw, _| raw.frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1])),
        ("resets", |raw, turn| {
            let id = turn * 2 + 1;
            raw.headers(id, &GET, true)?;
            raw.frame(Kind::Reset, 0, id, &[0, 0, 0, 8])?;
            while let Some(event) = raw.server.event() {
                if let Event::Reset { stream, .. } = event {
                    raw.server.release(stream);
                }
            }
            Ok(())
        }),
        ("resets", |raw, turn| {
            let id = turn * 2 + 1;
            raw.headers(id, &GET, true)?;
            raw.frame(Kind::WindowUpdate, 0, id, &[0; 4])?;
            while let Some(event) = raw.server.event() {
                if let Event::Reset { stream, .. } = event {
                    raw.server.release(stream);
                }
            }
            Ok(())
        }),
    ];
    for (name, flood) in floods {
        let mut raw = Raw::new();
        let error = (0..100_000).find_map(|turn| flood(&mut raw, turn).err()).unwrap();
        // A flood of unread answers may end by its frames first.
        let is_named = error.reason.strip_prefix("http2.") == Some(name)
            || (name == "unread_answers" && error.reason == "http2.pings");
        assert!(is_named, "{name} {error}");
        assert_eq!(error.code, Code::ENHANCE_YOUR_CALM);
        assert!(error.abuse.is_some());
    }
}

#[test]
fn windows_that_are_opened_byte_by_byte_end_the_connection() {
    let mut raw = Raw::new();
    // SETTINGS_INITIAL_WINDOW_SIZE of 1.
    raw.frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 1]).unwrap();
    raw.headers(1, &GET, true).unwrap();
    let key = StreamKey { slot: 0, id: 1 };
    raw.server.respond(key, StatusCode::OK, &Fields::new(), None, false);
    raw.server.data(key, Bytes::from(vec![0; 60_000]), true);
    let error = (0..10_000).find_map(|_| {
        raw.frames();
        raw.frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]).err()
    });
    assert_eq!(error.unwrap().abuse, Some(Abuse::WindowUpdates));
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let mut raw = Raw::new();
    for id in [1, 3, 5, 7, 9] {
        raw.headers(id, &GET, true).unwrap();
    }
    raw.headers(11, &GET, true).unwrap();
    assert_eq!(raw.reset(11), Some(Code::REFUSED_STREAM));
    // Resets make room, but at most once as long as the requests are being served.
    let opened = (0..20u32).take_while(|turn| {
        let id = 13 + 2 * turn;
        raw.frame(Kind::Reset, 0, if *turn == 0 { 1 } else { id - 2 }, &[0, 0, 0, 8]).unwrap();
        raw.headers(id, &GET, true).unwrap();
        raw.reset(id).is_none()
    });
    assert_eq!(opened.count(), 5);
    raw.server.release(StreamKey { slot: 0, id: 1 });
    raw.headers(99, &GET, true).unwrap();
    assert_eq!(raw.reset(99), None);
}

#[test]
fn resets_are_counted_whatever_follows_them() {
    let mut raw = Raw::new();
    let error = (0..1000u32).find_map(|turn| {
        let id = turn * 2 + 1;
        let all = raw.headers(id, &GET, false);
        let all = all.and_then(|()| raw.frame(Kind::Reset, 0, id, &[0, 0, 0, 8]));
        let result = all.and_then(|()| raw.headers(id, &[("x-end", "1")], true));
        raw.server.release(StreamKey { slot: 0, id });
        result.err()
    });
    assert_eq!(error.unwrap().abuse, Some(Abuse::Resets));
}

#[test]
fn windows_are_given_back_once_for_each_byte() {
    let mut raw = Raw::new();
    let mut increments = 0;
    for turn in 0..100u32 {
        let id = turn * 2 + 1;
        // Too little data for its length; a stream that ends in order pays for it.
        raw.headers(id, &with(&[("content-length", "20000")]), false).unwrap();
        raw.frame(Kind::Data, flag::END_STREAM, id, &[0; 10_000]).unwrap();
        raw.server.release(StreamKey { slot: 0, id });
        for (kind, _, stream, payload) in raw.frames() {
            if kind == Kind::WindowUpdate && stream == 0 {
                increments += u32::from_be_bytes(payload.try_into().unwrap());
            }
        }
    }
    assert!((900_000..=1_000_000).contains(&increments), "{increments}");
}

#[test]
fn heads_do_not_pile_up_for_a_client_that_reads_nothing() {
    let mut raw = Raw::new();
    let value: String = "v".repeat(120);
    let fields: Fields = (0..30).map(|_| ("x-a".parse().unwrap(), value.parse().unwrap())).collect();
    let mut most = 0;
    for turn in 0..10_000u32 {
        let id = turn * 2 + 1;
        if raw.headers(id, &GET, true).is_err() {
            break;
        }
        while let Some(event) = raw.server.event() {
            if let Event::Request(key, _) = event {
                raw.server.respond(key, StatusCode::OK, &fields, None, true);
                if raw.server.has_sent_all(key) {
                    raw.server.release(key);
                }
            }
        }
        most = most.max(raw.server.waiting());
    }
    assert!(most < 256 * 1024, "{most}");
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        let key = pair.send(&Method::GET, &Fields::new(), true);
        pair.talk(7);
        let (served, _) = pair.request();
        pair.server.respond(served, StatusCode::OK, &Fields::new(), None, false);
        pair.server.data(served, Bytes::from(vec![0; 10_000]), true);
        pair.talk(7);
        pair.response();
        all(&mut pair.client, key);
        pair.client.release(key);
        pair.server.release(served);
        pair.talk(7);
        while pair.client.event().is_some() || pair.server.event().is_some() {}
    }
    for side in [&pair.client, &pair.server] {
        assert_eq!(side.output.waiting(), 0);
        assert_eq!((side.queue.capacity() * size_of::<StreamKey>()) / 256, 0);
        assert!(side.events.capacity() <= EVENTS_KEPT);
        assert!(size_of::<Connection>() < 1024, "{}", size_of::<Connection>());
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_can_break_a_connection(
        frames in prop::collection::vec(
            (0u8..11, any::<u8>(), 0u32..8, prop::collection::vec(any::<u8>(), 0..40)), 0..40,
        ),
        step in 1usize..50,
    ) {
        let mut raw = Raw::new();
        let mut out = BytesMut::new();
        for (kind, flags, stream, payload) in frames {
            let header = [0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, u8::try_from(stream).unwrap()];
            out.extend_from_slice(&header);
            out.extend_from_slice(&payload);
        }
        for piece in out.chunks(step) {
            let _ended = raw.receive(piece);
            while let Some(event) = raw.server.event() {
                if let Event::Request(key, _) = event {
                    raw.server.respond(key, StatusCode::OK, &Fields::new(), None, false);
                    raw.server.data(key, Bytes::from_static(b"data"), true);
                    raw.server.release(key);
                }
            }
            raw.frames();
        }
    }
}

#[test]
fn more_data_than_a_window_is_an_error() {
    let mut raw = Raw::new();
    raw.headers(1, &GET, false).unwrap();
    for _ in 0..6 {
        raw.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
    }
    assert_eq!(raw.reset(1), None);
    raw.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
    assert_eq!(raw.reset(1), Some(Code::FLOW_CONTROL_ERROR));
}

#[test]
fn data_is_sent_in_turns_and_within_windows() {
    let mut pair = Pair::new();
    let keys: Vec<_> = (0..3).map(|_| pair.send(&Method::GET, &Fields::new(), true)).collect();
    pair.talk(usize::MAX);
    let served: Vec<_> = (0..3).map(|_| pair.request().0).collect();
    for key in &served {
        pair.server.respond(*key, StatusCode::OK, &Fields::new(), None, false);
        pair.server.data(*key, Bytes::from(vec![1; 150_000]), true);
    }
    pair.talk(usize::MAX);
    // A stream may send 100,000 bytes and the connection 200,000; each has had its share.
    let waiting: Vec<usize> =
        keys.iter().map(|key| pair.client.streams.get(*key).unwrap().arrived.waiting()).collect();
    assert_eq!(waiting.iter().sum::<usize>(), 200_000);
    assert!(waiting.iter().all(|waiting| (60_000..=80_000).contains(waiting)), "{waiting:?}");
    let mut received = vec![0; 3];
    for _ in 0..100 {
        for (key, received) in keys.iter().zip(&mut received) {
            let (data, _, _) = all(&mut pair.client, *key);
            *received += data.len();
        }
        pair.talk(usize::MAX);
    }
    assert_eq!(received, [150_000; 3]);
}

#[test]
fn the_time_of_a_frame_begins_with_its_first_byte() {
    let mut raw = Raw::new();
    let start = raw.now;
    let ping = {
        let mut out = BytesMut::new();
        frame::put_ping(&mut out, [0; 8], false);
        out
    };
    let mut receive = |second: u64, bytes: &[u8]| {
        raw.now = start + std::time::Duration::from_secs(second);
        raw.receive(bytes).unwrap();
        raw.server.arriving_since().map(|since| (since - start).as_secs())
    };
    assert_eq!(receive(1, &ping[..3]), Some(1));
    assert_eq!(receive(2, &ping[3..10]), Some(1));
    // The rest, and the beginning of the next one.
    assert_eq!(receive(3, &[&ping[10..], &ping[..1]].concat()), Some(3));
    assert_eq!(receive(4, &ping[1..]), None);
    // A header block counts from its first frame to its last.
    let block = raw.block(&GET);
    let mut receive = |second: u64, kind, flags, payload: &[u8]| {
        raw.now = start + std::time::Duration::from_secs(second);
        raw.frame(kind, flags, 1, payload).unwrap();
        raw.server.arriving_since().map(|since| (since - start).as_secs())
    };
    assert_eq!(receive(5, Kind::Headers, 0, &block[..9]), Some(5));
    assert_eq!(receive(6, Kind::Continuation, 0, &block[9..]), Some(5));
    assert_eq!(receive(7, Kind::Continuation, flag::END_HEADERS, b""), None);
    // Data that is passed on in pieces is not kept.
    let mut out = BytesMut::new();
    put_header(&mut out, Kind::Data, 0, 1, 100);
    raw.receive(&[&out[..], b"some"].concat()).unwrap();
    assert_eq!(raw.server.arriving_since(), None);
}
