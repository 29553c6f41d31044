//! The other side: an origin writes the frames, and the gateway is its client.
//!
//! Each case has an origin, a route and a connection of its own. The request of the gateway's client is on stream 1. A case says
//! what the origin must see, and what the client must get. What `upstream_http2_frames` tests is not repeated here: streams that
//! were refused or not processed, and heads of responses that are malformed.

mod connections;
mod frames;
mod responses;
mod windows;

use std::io;

use support::{Connection, Response};
use tokio::sync::mpsc;

use super::case::*;
use super::*;

/// The cases of a section of RFC 9113.
struct Section {
    rfc: &'static str,
    cases: Vec<(Case, Seen)>,
}

/// The outcome for the gateway's client.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// The origin's response, with this body.
    Whole(&'static str),
    /// The origin's response with this status, which has no content.
    Empty(u16),
    /// A response of the gateway, with this status and reason.
    Refused(u16, &'static str),
    /// No whole response: a refusal if nothing of it was sent yet, or else a cut.
    Cut,
}

use Seen::*;

/// The response to a client whose origin does not speak HTTP/2 as it should (docs/http2.md).
const MALFORMED: Seen = Refused(502, "upstream.malformed");

/// The response to a client whose origin does not even begin with HTTP/2.
const PROTOCOL: Seen = Refused(502, "upstream.protocol");

/// The requests of the gateway's client, without their first words.
const GET: (&str, &str) = ("GET", "");
const POST: (&str, &str) = ("POST", "hello");

/// The sections of RFC 9113 with a client's side, each with its number of cases.
const COUNTS: [(&str, usize); 26] = [
    ("RFC 9113 §3.4", 3),
    ("RFC 9113 §4.1", 4),
    ("RFC 9113 §4.2", 4),
    ("RFC 9113 §4.3", 8),
    ("RFC 9113 §5.1", 12),
    ("RFC 9113 §5.1.1", 2),
    ("RFC 9113 §5.4.1", 2),
    ("RFC 9113 §5.5", 1),
    ("RFC 9113 §7", 2),
    ("RFC 9113 §6.1", 3),
    ("RFC 9113 §6.2", 3),
    ("RFC 9113 §6.3", 3),
    ("RFC 9113 §6.4", 3),
    ("RFC 9113 §6.5", 8),
    ("RFC 9113 §6.6", 1),
    ("RFC 9113 §6.7", 3),
    ("RFC 9113 §6.8", 2),
    ("RFC 9113 §6.9", 6),
    ("RFC 9113 §6.10", 6),
    ("RFC 9113 §6.5.3", 2),
    ("RFC 9113 §6.9.1", 2),
    ("RFC 9113 §6.9.2", 2),
    ("RFC 9113 §8.1", 4),
    ("RFC 9113 §8.1.1", 8),
    ("RFC 9113 §8.2", 9),
    ("RFC 9113 §8.3", 5),
];

#[test]
fn each_section_with_a_side_of_clients_has_its_cases() {
    let all = [connections::sections, frames::sections, windows::sections, responses::sections];
    let all = all.into_iter().flat_map(|sections| sections());
    let counts: Vec<_> = all.map(|section| (section.rfc, section.cases.len())).collect();
    assert_eq!(counts, COUNTS);
}

/// A small response.
fn respond(stream: u32) -> Vec<u8> {
    [headers(stream, 0, OK), data(stream, END_STREAM, b"ok")].concat()
}

const OK: &[(&str, &str)] = &[(":status", "200")];

impl Seen {
    fn check(self, response: io::Result<Response>) -> Result<(), String> {
        let response = match (self, response) {
            (Cut, Err(_)) => return Ok(()),
            (_, Err(error)) => return Err(format!("no {self:?}, but {error}")),
            (_, Ok(response)) => response,
        };
        let reason = response.header("x-gateway-error");
        let is_as_expected = match self {
            Whole(body) => response.status == 200 && response.body == body.as_bytes(),
            Empty(status) => response.status == status && reason.is_none() && response.body.is_empty(),
            Refused(status, expected) => response.status == status && reason == Some(expected),
            Cut => response.status == 502,
        };
        if is_as_expected {
            return Ok(());
        }
        let (status, body) = (response.status, response.body.escape_ascii());
        Err(format!("no {self:?}, but {status}, {reason:?}, {body}"))
    }
}

/// Runs the origin's part of a case.
async fn serve(connection: Connection, case: &Case) -> Result<(), String> {
    let mut peer = Peer::new(Socket::Origin(connection));
    peer.expect_bytes(PREFACE).await?;
    // The gateway takes no pushes.
    peer.expect(&Outcome::Setting(2, 0)).await?;
    if !case.is_raw {
        peer.write(&settings(&[])).await;
        let request = peer.next_of(HEADERS).await.map(|head| head.stream);
        if request != Some(1) {
            return Err(format!("the request is on stream {request:?}"));
        }
    }
    case.run(&mut peer).await
}

/// Runs all cases with this method and body at the same time, each with an origin and a route of one gateway, and names all that fail.
async fn run((method, body): (&'static str, &'static str), sections: Vec<Section>) {
    let mut routes = String::new();
    let mut started = Vec::new();
    for (case, seen, rfc) in sections
        .into_iter()
        .flat_map(|Section { rfc, cases }| cases.into_iter().map(move |(case, seen)| (case, seen, rfc)))
    {
        let title = format!("{rfc}: {}", case.name);
        let (outcomes, outcome) = mpsc::channel(1);
        let case = Arc::new(case);
        let origin = Origin::script(move |connection| {
            let (case, outcomes) = (case.clone(), outcomes.clone());
            async move {
                // Only the first connection is the case's.
                drop(outcomes.try_send(serve(connection, &case).await));
            }
        });
        let path = format!("/{}", started.len());
        routes += &format!(
            "  - {{ match: {{ path: {path} }}, upstream: {{ url: '{}', protocol: h2 }}, retry: {{ attempts: 0 }} }}\n",
            origin.url()
        );
        started.push((title, path, seen, origin, outcome));
    }
    let listeners = "listeners: [{ name: web, address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n";
    let gateway = gateway(format!("{listeners}routes:\n{routes}")).start().await;
    let mut running = JoinSet::new();
    for (title, path, seen, origin, mut outcome) in started {
        let mut client = gateway.client("web").await;
        running.spawn(async move {
            let both = async {
                let length = body.len();
                let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
                client.send_raw(head + body).await;
                let response = client.try_read_response().await;
                let origin_saw = outcome.recv().await.unwrap_or_else(|| Err("no connection".to_owned()));
                origin_saw.and(seen.check(response))
            };
            let ended = timeout(CASE_TIME, both).await;
            drop(origin);
            let outcome = ended.unwrap_or_else(|_| Err("the gateway is silent".to_owned()));
            outcome.map_err(|error| format!("{title}\n    {error}"))
        });
    }
    report(running).await;
}
