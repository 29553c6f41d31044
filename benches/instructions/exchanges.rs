//! Whole exchanges by the tasks of a worker, in HTTP/1 and HTTP/2 on either side. All connections are kept ones.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use gateway::testing::measure_exchange::{Message, Protocol, Worker};
use gateway::testing::measure_heads::Head;
use http::Method;

use crate::measures::{PLAIN, REQUEST_FIELDS, RESPONSE_FIELDS, config, folder, repeat};

/// An exchange, with the protocols of the client's connection and the upstream's.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    client: Protocol,
    upstream: Protocol,
    messages: fn() -> (Message, Message),
}

/// The exchanges in the order of the report. The first one shows what the worker's own turn costs: its request is that of
/// `proxied/GET 1 KiB`.
pub(crate) const EXCHANGES: [Exchange; 5] = [
    Exchange {
        name: "exchange/h1 to h1 GET 1 KiB",
        client: Protocol::H1,
        upstream: Protocol::H1,
        messages: get,
    },
    Exchange {
        name: "exchange/h1 to h2 GET 1 KiB",
        client: Protocol::H1,
        upstream: Protocol::H2,
        messages: get,
    },
    Exchange {
        name: "exchange/h2 to h1 GET 1 KiB",
        client: Protocol::H2,
        upstream: Protocol::H1,
        messages: get,
    },
    Exchange {
        name: "exchange/h2 to h2 GET 1 KiB",
        client: Protocol::H2,
        upstream: Protocol::H2,
        messages: get,
    },
    Exchange {
        name: "exchange/h2 to h2 gRPC unary",
        client: Protocol::H2,
        upstream: Protocol::H2,
        messages: unary_call,
    },
];

impl Exchange {
    /// Performs all rounds, from the bytes that the client has sent to those that it receives.
    pub(crate) fn perform(&self) -> anyhow::Result<()> {
        let mut worker = Worker::new(&config(PLAIN, self.upstream), folder(), self.client, self.upstream);
        let (request, response) = (self.messages)();
        repeat(|counting| {
            worker.client_sends(&request);
            counting.count(|| worker.work());
            let sent = worker.upstream_arrived().context("no request came")?;
            ensure!(sent.body == request.body(), "another body came");
            worker.upstream_sends(&response);
            counting.count(|| worker.work());
            let answer = worker.client_arrived().context("no response came")?;
            ensure!(answer.start == "200" && answer.body == response.body(), "another response came");
            ensure!(answer.has_trailers == response.has_trailers(), "the trailers are not the response's");
            Ok(())
        })
    }
}

fn get() -> (Message, Message) {
    let request = Message::request(Method::GET, "/api/v1/items/7", Head::new(&REQUEST_FIELDS), Bytes::new());
    (request, Message::response(Head::new(&RESPONSE_FIELDS), vec![b'x'; 1024].into(), None))
}

/// A call with messages of 100 bytes.
fn unary_call() -> (Message, Message) {
    let message: Bytes = [&[0, 0, 0, 0, 100][..], &[7; 100]].concat().into();
    let call = Message::request(Method::POST, "/api/Get", Head::new(&CALL_FIELDS), message.clone());
    let end = Head::new(&[("grpc-status", "0"), ("grpc-message", "")]);
    (call, Message::response(Head::new(&[("content-type", "application/grpc")]), message, Some(end)))
}

/// Fields similar to those of grpc-go.
const CALL_FIELDS: [(&str, &str); 5] = [
    ("host", "api.example.com"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-go/1.78.0"),
    ("te", "trailers"),
    ("grpc-timeout", "10S"),
];
