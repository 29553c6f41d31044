//! Responses that are whole before their requests are (RFC 9113 §8.1).

use super::*;
use crate::http::h2::hpack::Pseudo;

/// A request without its end, and its whole response with data and trailers, which the client has not taken yet.
fn answered() -> (Pair, StreamKey) {
    let mut pair = Pair::new();
    let key = pair.send(&Method::POST, &Fields::new(), false);
    pair.client.data(key, Bytes::from(vec![7; 1_000_000]), true);
    pair.talk(usize::MAX);
    let (served, _) = pair.request();
    pair.server.respond(served, StatusCode::PAYLOAD_TOO_LARGE, &Fields::new(), None, false);
    pair.server.data(served, Bytes::from_static(b"too large"), false);
    pair.server.schedule();
    pair.server.trailers(served, Fields::written(&[("x-end", "1")]));
    pair.talk(usize::MAX);
    assert!(!pair.client.has_sent_all(key));
    (pair, key)
}

fn assert_whole(client: &mut Connection, key: StreamKey) {
    assert!(!client.is_reset(key));
    let trailers = Fields::written(&[("x-end", "1")]);
    assert_eq!(all(client, key), (b"too large".to_vec(), Some(trailers), Some(Part::End)));
    client.release(key);
    assert_eq!(client.open(), 0);
}

#[test]
fn a_reset_behind_a_whole_response_ends_only_the_sending() {
    for code in [Code::NO_ERROR, Code::CANCEL, Code::INTERNAL_ERROR] {
        let (mut pair, key) = answered();
        while pair.client.event().is_some() {}
        pair.server.reset(StreamKey { slot: 0, id: 1 }, code);
        pair.talk(usize::MAX);
        assert!(matches!(pair.client.event(), Some(Event::Writable(writable)) if writable == key));
        assert!(pair.client.event().is_none());
        assert!(pair.client.has_sent_all(key) && !pair.client.takes_data(key));
        assert_whole(&mut pair.client, key);
        assert!(written(&mut pair.client).is_empty(), "nothing is sent on the stream any more");
    }
}

#[test]
fn a_reset_of_a_stream_that_has_ended_both_ways_leaves_what_arrived() {
    let mut pair = Pair::new();
    let key = pair.send(&Method::GET, &Fields::new(), true);
    pair.talk(usize::MAX);
    let (served, _) = pair.request();
    pair.server.respond(served, StatusCode::OK, &Fields::new(), None, false);
    pair.server.data(served, Bytes::from_static(b"hello"), true);
    pair.talk(usize::MAX);
    let mut reset = BytesMut::new();
    frame::put_reset(&mut reset, key.id, Code::CANCEL);
    pair.client.receive(reset.freeze(), Instant::now()).unwrap();
    assert_eq!(all(&mut pair.client, key), (b"hello".to_vec(), None, Some(Part::End)));
}

#[test]
fn a_reset_before_the_end_of_a_response_comes_behind_what_arrived() {
    let mut pair = Pair::new();
    let key = pair.send(&Method::POST, &Fields::new(), false);
    pair.talk(usize::MAX);
    let (served, _) = pair.request();
    pair.server.respond(served, StatusCode::OK, &Fields::new(), None, false);
    pair.server.data(served, Bytes::from_static(b"hel"), false);
    pair.talk(usize::MAX);
    pair.server.reset(served, Code::INTERNAL_ERROR);
    pair.talk(usize::MAX);
    assert_eq!(pair.client.held(), 3);
    assert_eq!(pair.client.take(key), Some(Part::Data(Bytes::from_static(b"hel"))));
    assert_eq!(pair.client.take(key), Some(Part::Reset(Code::INTERNAL_ERROR)));
    pair.client.release(key);
    assert_eq!((pair.client.held(), pair.client.open()), (0, 0));
}

#[test]
fn late_frames_of_streams_that_the_client_has_reset_are_ignored_however_many_there_were() {
    let mut pair = Pair::new();
    for _ in 0..200 {
        let key = pair.send(&Method::GET, &Fields::new(), true);
        pair.client.release(key);
    }
    drop(written(&mut pair.client));
    let mut encoder = Encoder::new();
    let mut bytes = BytesMut::new();
    for stream in [1, 3, 199, 399] {
        let mut block = BytesMut::new();
        encoder.begin(&mut block);
        encoder.pseudo(Pseudo::Status, b"200", &mut block);
        put_block(&mut bytes, stream, &block, PAYLOAD_MAX, false);
        put_header(&mut bytes, Kind::Data, 0, stream, 2000);
        bytes.extend_from_slice(&[7; 2000]);
    }
    pair.client.receive(bytes.freeze(), Instant::now()).unwrap();
    assert_eq!(pair.client.held(), 0, "the connection's window is given back");
    assert!(written(&mut pair.client).is_empty(), "nothing is reset twice");
}

#[test]
fn whole_responses_outlive_their_connection() {
    let (mut pair, key) = answered();
    let other = pair.send(&Method::GET, &Fields::new(), true);
    pair.client.lose();
    assert_eq!(pair.client.take(other), Some(Part::Reset(Code::CANCEL)));
    pair.client.release(other);
    assert!(pair.client.has_sent_all(key));
    assert_whole(&mut pair.client, key);
    // A server cannot respond any more.
    pair.server.lose();
    assert!(pair.server.is_reset(StreamKey { slot: 0, id: 1 }));
}

#[test]
fn a_goaway_that_denies_a_whole_response_ends_only_the_sending() {
    let (mut pair, key) = answered();
    let mut goaway = BytesMut::new();
    frame::put_goaway(&mut goaway, 0, Code::NO_ERROR, "");
    pair.client.receive(goaway.freeze(), Instant::now()).unwrap();
    assert_whole(&mut pair.client, key);
}
