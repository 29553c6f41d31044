//! Stages around an action, with the made-up policy [`Probe`].
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::client::{Client, CurrentSnapshot};
use super::exchange::Exchange;
use super::exchange_log::ExchangeLog;
use super::reply::{Call, Reply};
use super::serve::serve;
use crate::config::load::files::Files;
use crate::config::section;
use crate::control::compile::generation::{Next, Purpose};
use crate::filter::RequestHead;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::message::Request;
use crate::net::timer::Timer;
use crate::observe::metrics::enter_worker;
use crate::policy::{Headers, Probe};
use crate::snapshot::stage::{Stage, Stages};
use crate::upstream::worker_channel;

const CONFIG: &str = "
listeners: [{ address: '127.0.0.1:0' }]
telemetry: { access_log: off }
routes:
  - { name: a, match: { path: /a }, respond: { status: 200 } }
  - { name: b, match: { path: /b }, respond: { status: 204 } }
";

/// Returns a client of a gateway whose routes `a` and `b` have a probe for these fields, and set `x-edited` in responses.
fn client(fields: [Option<&'static str>; 2]) -> Rc<Client> {
    enter_worker(0);
    let (file, files) = (Path::new("gateway.yaml"), Files::new());
    files.give(file, CONFIG.as_bytes());
    let channels = |workers| (0..workers).map(|_| worker_channel(8).0).collect();
    let (next, _) = Next::build(Purpose::Serve, file, &files, channels, None).ok().unwrap();
    let mut snapshot = next.generation.snapshot;
    for route in Arc::get_mut(&mut snapshot).unwrap().router.routes_mut() {
        let field = fields[usize::from(*route.name == *"b")];
        let probe = field.map(|field| Stage::Probe(Probe { requires: HeaderName::from_static(field) }));
        let headers = Headers::new(&section("response: { set: { x-edited: 'yes' } }"));
        let stages = Stages::new([Stage::Headers(headers)].into_iter().chain(probe));
        Arc::get_mut(route).unwrap().stages = stages;
    }
    let listener = snapshot.listeners[0].clone();
    let current = CurrentSnapshot::new(Arc::new(ArcSwap::new(snapshot)));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    Client::new(&listener, current, address.into(), address.into(), false, None)
}

fn request(fields: &[(&'static str, &'static str)]) -> Request {
    let fields = [("host", "example.com")].iter().chain(fields);
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let (method, target, version) = (Method::GET, Uri::from_static("/a"), Version::HTTP_11);
    Request {
        method,
        target,
        version,
        headers: fields.map(field).collect(),
        protocol: None,
        body: Body::Empty,
    }
}

fn call() -> Call {
    Call { timer: Timer::default(), interim: None, is_first: true }
}

#[tokio::test]
async fn stage_that_responds_takes_the_place_of_the_action_and_response_stages_follow() {
    let client = client([Some("x-key"), None]);
    for (fields, status) in [(&[][..], StatusCode::FORBIDDEN), (&[("x-key", "1")], StatusCode::OK)] {
        let Reply { response, .. } = serve(&client, request(fields), call()).await;
        assert_eq!(response.status, status);
        // The order of a response's stages: edits of its fields, then the probe.
        let names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-edited", "x-probe"], "{status}");
    }
}

#[tokio::test]
async fn route_that_a_filter_chooses_has_no_stage_that_the_request_did_not_pass() {
    for (fields, chosen) in [
        ([None, None], Ok("b")),
        ([Some("x-key"), Some("x-key")], Ok("b")),
        ([Some("x-key"), None], Ok("b")),
        ([None, Some("x-key")], Err(Error::RoutePolicies)),
        ([Some("x-key"), Some("x-other")], Err(Error::RoutePolicies)),
    ] {
        let client = client(fields);
        let (start, call, target) = (client.begin(), call(), Uri::from_static("/a"));
        let mut request = request(&[("x-key", "1"), ("x-other", "1")]);
        let mut log = ExchangeLog::begin(&client, &start, &mut request);
        let mut exchange = Exchange::begin(&client, &start, &call, &target, &mut request, &mut log).unwrap();
        let authority = HeaderValue::from_static("example.com");
        let mut head = RequestHead::new(Method::GET, target.clone(), authority, "http", Fields::new());
        head.set_path("/b?x=1".into());
        let again = exchange.take_filtered(head, true);
        let outcome = again.map(|()| &*exchange.route.name);
        assert_eq!(outcome, chosen, "{fields:?}");
        assert_eq!((&*exchange.path, exchange.query()), ("/b", Some("x=1")));
    }
}

#[tokio::test]
async fn future_of_a_request_has_a_bounded_size() {
    let client = client([None, None]);
    let size = size_of_val(&serve(&client, request(&[]), call()));
    // A request costs one box of this size. Whatever is large and rare has a box of its own.
    assert!(size <= 2968, "{size}");
}
