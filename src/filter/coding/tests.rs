//! Decoding of coded bodies, wherever they are split.

use std::collections::VecDeque;
use std::task::Waker;

use async_compression::Level;
use async_compression::tokio::write;
use async_compression::zstd::CParameter;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::decoder::is_zlib;
use super::*;

/// All codings in all forms: `deflate` with the zlib wrapper, and without.
const NAMES: [&str; 5] = ["gzip", "br", "zstd", "deflate", "raw deflate"];
const FAILURE: Error = Error::ResponseCoding;

/// The result of one poll of a body.
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail(Error),
    /// Pending forever.
    Wait,
}

struct Script(VecDeque<Step>);

impl Streaming for Script {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> PollFrame {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Fail(error)) => Poll::Ready(Some(Err(error))),
            Some(Step::Wait) => {
                self.0.push_front(Step::Wait);
                Poll::Pending
            }
        }
    }

    fn poll_background(&mut self, _: &mut Context<'_>) -> Poll<Error> {
        Poll::Ready(Error::IdleTimeout)
    }
}

fn script(steps: impl IntoIterator<Item = Step>) -> Body {
    Body::boxed(Script(steps.into_iter().collect()))
}

fn data(bytes: &[u8]) -> Step {
    Step::Data(Bytes::copy_from_slice(bytes))
}

fn headers(lines: &[&str]) -> Fields {
    let mut headers = Fields::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
    }
    headers
}

fn trailers(lines: &[&str]) -> HeaderMap {
    headers(lines).into()
}

fn codings(written: &str) -> Codings {
    let written = written.replace("raw deflate", "deflate");
    Codings::of(Direction::Response, &headers(&[&format!("content-encoding: {written}")])).unwrap()
}

/// Everything that a body returned until it ended or stalled.
#[derive(Debug, Default, PartialEq)]
struct Given {
    data: Vec<u8>,
    largest: usize,
    frames: usize,
    trailers: Option<HeaderMap>,
    error: Option<Error>,
    waits: bool,
}

fn take(mut body: Body) -> Given {
    let mut given = Given::default();
    let cx = &mut Context::from_waker(Waker::noop());
    loop {
        match body.poll_frame(cx) {
            Poll::Pending => return Given { waits: true, ..given },
            Poll::Ready(None) => {
                assert!(body.is_end_stream());
                return given;
            }
            Poll::Ready(Some(Err(error))) => {
                assert!(given.error.replace(error).is_none(), "an error is the end");
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                let data = frame.into_data().unwrap();
                assert!(given.trailers.is_none() && given.error.is_none() && !data.is_empty());
                given.frames += 1;
                given.largest = given.largest.max(data.len());
                given.data.extend_from_slice(&data);
            }
            Poll::Ready(Some(Ok(frame))) => given.trailers = Some(frame.into_trailers().unwrap()),
        }
    }
}

/// Returns the pieces coded by one encoder, which is flushed after each. The last piece includes the end.
async fn encode(name: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    async fn run<E: AsyncWrite + Unpin>(
        mut encoder: E,
        coded: impl Fn(&mut E) -> &mut Vec<u8>,
        pieces: &[&[u8]],
    ) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            encoder.write_all(piece).await.unwrap();
            if index + 1 < pieces.len() {
                encoder.flush().await.unwrap();
            } else {
                encoder.shutdown().await.unwrap();
            }
            out.push(std::mem::take(coded(&mut encoder)));
        }
        out
    }
    match name {
        "gzip" => run(write::GzipEncoder::new(Vec::new()), |encoder| encoder.get_mut(), pieces).await,
        "br" => {
            let encoder = write::BrotliEncoder::with_quality(Vec::new(), Level::Fastest);
            run(encoder, |encoder| encoder.get_mut(), pieces).await
        }
        "zstd" => run(write::ZstdEncoder::new(Vec::new()), |encoder| encoder.get_mut(), pieces).await,
        "deflate" => run(write::ZlibEncoder::new(Vec::new()), |encoder| encoder.get_mut(), pieces).await,
        "raw deflate" => {
            run(write::DeflateEncoder::new(Vec::new()), |encoder| encoder.get_mut(), pieces).await
        }
        _ => panic!("{name} is no coding"),
    }
}

async fn encode_all(name: &str, plain: &[u8]) -> Vec<u8> {
    encode(name, &[plain]).await.concat()
}

/// Returns text that compresses, but not to nothing.
fn text(length: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) >> 20).into_bytes());
    words.take(length).collect()
}

#[test]
fn codings_are_undone_in_the_reverse_order_and_only_if_all_are_known() {
    use Coding::{Brotli, Deflate, Gzip, Zstd};
    let cases: [(&[&str], Option<&[Coding]>); 15] = [
        (&[], None),
        (&["content-encoding: gzip"], Some(&[Gzip])),
        (&["content-encoding: X-GZip"], Some(&[Gzip])),
        (&["content-encoding: br"], Some(&[Brotli])),
        (&["content-encoding: zstd"], Some(&[Zstd])),
        (&["content-encoding: deflate"], Some(&[Deflate])),
        (&["content-encoding: identity"], None),
        (&["content-encoding: ,"], None),
        (&["content-encoding: gzip, identity,, \tbr"], Some(&[Brotli, Gzip])),
        (&["content-encoding: gzip", "content-encoding: br, zstd"], Some(&[Zstd, Brotli, Gzip])),
        (&["content-encoding: gzip, gzip, gzip, gzip"], None),
        (&["content-encoding: compress"], None),
        (&["content-encoding: gzip", "content-encoding: aes128gcm"], None),
        (&["content-encoding: gzip; q=1"], None),
        (&["content-encoding: gzip", "content-range: bytes 0-9/100"], None),
    ];
    for (lines, expected) in cases {
        let found = Codings::of(Direction::Response, &headers(lines));
        assert_eq!(found, expected.map(|codings| Codings(codings.to_vec())), "{lines:?}");
    }
    let mut unreadable = headers(&["content-encoding: gzip"]);
    unreadable.append(CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(Codings::of(Direction::Response, &unreadable), None);
}

#[test]
fn fields_about_the_coded_bytes_are_removed_from_the_head() {
    let cases: [(&[&str], &[&str]); 8] = [
        (&["server: s", "vary: accept-encoding"], &["server: s", "vary: accept-encoding"]),
        (&["content-length: 7", "accept-ranges: bytes"], &[]),
        (&["content-md5: a", "digest: b", "content-digest: c", "repr-digest: d"], &[]),
        (&["etag: \"x\""], &["etag: W/\"x\""]),
        (&["etag: W/\"x\""], &["etag: W/\"x\""]),
        (&["etag: \"x\"", "etag: \"y\""], &["etag: W/\"x\""]),
        (&["etag: x"], &[]),
        (&["etag:"], &[]),
    ];
    for (before, after) in cases {
        let (after, mut changed) = (headers(after), headers(before));
        head_of_changed(&mut changed);
        assert_eq!(changed, after, "{before:?}");
        let mut decoded = headers(before);
        decoded.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        head_of_decoded(&mut decoded);
        assert_eq!(decoded, after, "{before:?}");
    }
    let mut coded = headers(&["content-encoding: gzip"]);
    head_of_changed(&mut coded);
    assert_eq!(coded, headers(&["content-encoding: gzip"]), "it is still coded");
}

#[tokio::test]
async fn every_coding_is_undone_wherever_it_is_cut() {
    let plain = text(600);
    for name in NAMES {
        let coded = encode_all(name, &plain).await;
        assert!(coded.len() < plain.len());
        for at in 0..=coded.len() {
            let (first, second) = coded.split_at(at);
            let given = take(decoded(script([data(first), data(second)]), &codings(name), FAILURE));
            assert_eq!((given.data.as_slice(), given.error), (plain.as_slice(), None), "{name} at {at}");
        }
        let bytewise = script(coded.iter().flat_map(|byte| [data(&[*byte]), data(&[])]));
        assert_eq!(take(decoded(bytewise, &codings(name), FAILURE)).data, plain, "{name}");
        let whole = Body::full(coded);
        assert_eq!(take(decoded(whole, &codings(name), FAILURE)).data, plain, "{name}");
    }
}

#[test]
fn zlib_header_is_distinguished_from_raw_deflate_by_two_bytes() {
    // The levels of zlib, and the smaller windows.
    for header in [[0x78, 0x01], [0x78, 0x5e], [0x78, 0x9c], [0x78, 0xda], [0x08, 0x1d], [0x68, 0x81]] {
        assert!(is_zlib(&header), "{header:x?}");
        assert!(is_zlib(&[&header[..], b"more"].concat()), "{header:x?}");
    }
    assert!(is_zlib(&[0x78]));
    // A fixed, a dynamic and a stored block; an empty stream; wrong checks; a window of 64 KiB; method 9.
    for bytes in
        [[0xab, 0x56], [0x05, 0xc1], [0x01, 0x05], [0x03, 0x00], [0x78, 0x9d], [0x88, 0x1c], [0x79, 0x1b]]
    {
        assert!(!is_zlib(&bytes), "{bytes:x?}");
    }
}

#[tokio::test]
async fn stored_blocks_of_raw_deflate_are_decoded_wherever_they_are_cut() {
    // RFC 1951 §3.2.4: not final, 5 bytes; final, 0 bytes.
    let coded = [&[0x00, 0x05, 0x00, 0xfa, 0xff][..], b"plain", &[0x01, 0x00, 0x00, 0xff, 0xff]].concat();
    for at in 0..=coded.len() {
        let (first, second) = coded.split_at(at);
        let given = take(decoded(script([data(first), data(second)]), &codings("deflate"), FAILURE));
        assert_eq!((given.data.as_slice(), given.error), (&b"plain"[..], None), "at {at}");
    }
}

#[tokio::test]
async fn large_bodies_come_in_frames_of_bounded_size() {
    let plain = text(1_000_000);
    for name in NAMES {
        let coded = encode_all(name, &plain).await;
        let body = script(coded.chunks(70_000).map(data));
        let given = take(decoded(body, &codings(name), FAILURE));
        assert!(given.data == plain && given.error.is_none(), "{name}");
        assert_eq!(given.largest, FRAME_BYTES_MAX, "{name}");
    }
}

#[tokio::test]
async fn a_bomb_goes_off_in_small_pieces_and_only_as_they_are_taken() {
    const BOMB_BYTES: usize = 10 * 1024 * 1024;
    let plain = vec![0; BOMB_BYTES];
    for name in NAMES {
        let coded = encode_all(name, &plain).await;
        let mut body = decoded(Body::full(coded.clone()), &codings(name), FAILURE);
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= FRAME_BYTES_MAX && data.iter().all(|byte| *byte == 0));
            total += data.len();
        }
        assert_eq!(total, BOMB_BYTES, "{name}");
        // A frame is returned before the body was polled for its last byte.
        let (most, last) = coded.split_at(coded.len() - 1);
        let given = take(decoded(script([data(most), Step::Wait, data(last)]), &codings(name), FAILURE));
        assert!(given.waits && given.frames > 1, "{name}");
    }
}

#[tokio::test]
async fn flushed_events_are_decoded_at_once() {
    let events: [&[u8]; 4] = [b"data: 1\n\n", b"data: 2\n\n", b": \n", b"data: 3\n\n"];
    for name in NAMES {
        let coded = encode(name, &events).await;
        for count in 1..events.len() {
            let steps = coded.iter().take(count).map(|coded| data(coded)).chain([Step::Wait]);
            let given = take(decoded(script(steps), &codings(name), FAILURE));
            assert!(given.waits);
            assert_eq!(given.data, events[..count].concat(), "{name}, {count} events");
        }
        let given = take(decoded(script(coded.iter().map(|coded| data(coded))), &codings(name), FAILURE));
        assert_eq!((given.data, given.error), (events.concat(), None), "{name}");
    }
}

#[tokio::test]
async fn stacked_codings_are_undone_together() {
    let plain = text(3000);
    for (first, second, third) in [
        ("gzip", "br", "zstd"),
        ("deflate", "zstd", "gzip"),
        ("br", "br", "br"),
        ("raw deflate", "deflate", "raw deflate"),
    ] {
        let mut coded = plain.clone();
        for name in [first, second, third] {
            coded = encode_all(name, &coded).await;
        }
        let all = codings(&format!("{first}, {second}, {third}"));
        for size in [1, 7, coded.len()] {
            let end = Step::Trailers(trailers(&["x-checksum: y"]));
            let body = script(coded.chunks(size).map(data).chain([end]));
            let given = take(decoded(body, &all, FAILURE));
            assert_eq!(
                (given.data, given.error),
                (plain.clone(), None),
                "{first} {second} {third} by {size}"
            );
            assert_eq!(given.trailers, Some(trailers(&["x-checksum: y"])));
        }
    }
}

#[tokio::test]
async fn members_and_frames_may_follow_one_another() {
    for name in ["gzip", "zstd"] {
        let coded =
            [encode_all(name, b"one").await, encode_all(name, b"").await, encode_all(name, b"two").await];
        let apart = take(decoded(script(coded.iter().map(|coded| data(coded))), &codings(name), FAILURE));
        assert_eq!((apart.data.as_slice(), apart.error), (&b"onetwo"[..], None), "{name}");
        let together = take(decoded(Body::full(coded.concat()), &codings(name), FAILURE));
        assert_eq!((together.data.as_slice(), together.error), (&b"onetwo"[..], None), "{name}");
    }
}

#[tokio::test]
async fn a_body_cut_short_gives_what_it_has_and_fails() {
    let plain = text(600);
    for name in NAMES {
        let coded = encode_all(name, &plain).await;
        for length in 1..coded.len() {
            let given = take(decoded(Body::full(coded[..length].to_vec()), &codings(name), FAILURE));
            assert_eq!(given.error, Some(FAILURE), "{name}, {length} of {}", coded.len());
            assert!(plain.starts_with(&given.data), "{name}, {length}");
        }
        let flushed = encode(name, &[&plain, b"more"]).await;
        let given = take(decoded(Body::full(flushed[0].clone()), &codings(name), FAILURE));
        assert_eq!((given.data.as_slice(), given.error), (plain.as_slice(), Some(FAILURE)), "{name}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_of_the_coding_fail() {
    for name in NAMES {
        let garbage = Body::full(&b"{\"neither\": \"compressed\", \"nor\": \"empty\"}"[..]);
        let given = take(decoded(garbage, &codings(name), Error::RequestCoding));
        assert_eq!(given.error, Some(Error::RequestCoding), "{name}");
        let followed = [encode_all(name, b"a").await, b"behind the end".to_vec()];
        for body in [Body::full(followed.concat()), script(followed.iter().map(|bytes| data(bytes)))] {
            let given = take(decoded(body, &codings(name), FAILURE));
            assert_eq!((given.data.as_slice(), given.error), (&b"a"[..], Some(FAILURE)), "{name}");
        }
    }
    let mut damaged = encode_all("gzip", &text(600)).await;
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    assert_eq!(take(decoded(Body::full(damaged), &codings("gzip"), FAILURE)).error, Some(FAILURE));
}

#[tokio::test]
async fn a_window_beyond_what_http_allows_fails() {
    for (log, error) in [(23, None), (24, Some(FAILURE))] {
        let window = CParameter::window_log(log);
        let mut encoder = write::ZstdEncoder::with_quality_and_params(Vec::new(), Level::Fastest, &[window]);
        encoder.write_all(&text(600)).await.unwrap();
        // A frame that is flushed before its end states its window and not its length.
        encoder.flush().await.unwrap();
        encoder.shutdown().await.unwrap();
        let given = take(decoded(Body::full(encoder.into_inner()), &codings("zstd"), FAILURE));
        assert_eq!(given.error, error, "2^{log}");
    }
}

#[tokio::test]
async fn no_bytes_at_all_stay_none() {
    for name in NAMES.into_iter().chain(["gzip, br, zstd"]) {
        assert!(matches!(decoded(Body::Empty, &codings(name), FAILURE), Body::Empty));
        assert_eq!(take(decoded(script([]), &codings(name), FAILURE)), Given::default(), "{name}");
        let empty = script([data(b""), Step::Trailers(trailers(&["a: b"]))]);
        let expected = Given { trailers: Some(trailers(&["a: b"])), ..Given::default() };
        assert_eq!(take(decoded(empty, &codings(name), FAILURE)), expected, "{name}");
    }
}

#[tokio::test]
async fn trailers_follow_without_digests_and_errors_of_the_body_stay_what_they_are() {
    for name in NAMES {
        let [coded, end] = <[Vec<u8>; 2]>::try_from(encode(name, &[b"some", b"more"]).await).unwrap();
        let with_digests =
            trailers(&["grpc-status: 0", "content-digest: sha-256=:a:", "repr-digest: sha-256=:b:"]);
        let whole = script([data(&coded), data(&end), Step::Trailers(with_digests)]);
        let given = take(decoded(whole, &codings(name), FAILURE));
        assert_eq!(given.trailers, Some(trailers(&["grpc-status: 0"])), "{name}");
        assert_eq!((given.data.as_slice(), given.error), (&b"somemore"[..], None), "{name}");

        let error = Some(Error::ResponseTruncated);
        let fails = || Step::Fail(Error::ResponseTruncated);
        for (steps, came) in [
            (vec![fails()], &b""[..]),
            (vec![data(&coded), fails()], b"some"),
            (vec![data(&coded), data(&end), fails()], b"somemore"),
        ] {
            let given = take(decoded(script(steps), &codings(name), FAILURE));
            assert_eq!((given.data.as_slice(), given.error), (came, error), "{name}");
        }
        // Trailers end the body, even one that is still empty.
        let short = script([data(&coded), Step::Trailers(HeaderMap::new())]);
        assert_eq!(take(decoded(short, &codings(name), FAILURE)).error, Some(FAILURE), "{name}");
    }
}

#[test]
fn background_polling_passes_through_all_decoders() {
    let mut body = decoded(script([Step::Wait]), &codings("gzip, br"), FAILURE);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(body.poll_frame(cx).is_pending());
    assert_eq!(body.poll_background(cx), Poll::Ready(Error::IdleTimeout));
}
