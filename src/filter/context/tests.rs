//! The order of the parts of a message where a filter fails at the other message.

use std::net::{Ipv4Addr, SocketAddr};

use http::{HeaderValue, Method, Uri, Version};
use tokio::time::Instant;

use super::*;
use crate::filter::contract::PartsOfInterest;
use crate::filter::{RequestHead, RequestInfo};

/// A filter that holds the response's body back, and traps at the request's body.
struct FailsOpen(Policy);

impl Filter for FailsOpen {
    fn name(&self) -> &str {
        "fails-open"
    }

    fn policy(&self) -> &Policy {
        &self.0
    }

    fn interests(&self) -> Interests {
        let all = PartsOfInterest { head: true, body: true, trailers: true };
        Interests { parts: ByDirection { request: all, response: all }, reads_heads: false }
    }

    fn reason(&self, _: Fault) -> &'static str {
        "filter.test.trap"
    }

    fn failed(&self, _: Fault) {}

    fn begin(self: Arc<Self>, _: &Rc<FilterContext>) -> Result<Box<dyn Callbacks>, Fault> {
        Ok(Box::new(TrapsAtRequestBody))
    }
}

struct TrapsAtRequestBody;

impl Callbacks for TrapsAtRequestBody {
    fn on_head(&self, _: Direction, _: usize, _: bool) -> Result<Action, Fault> {
        Ok(Action::Continue)
    }

    fn on_body(&self, direction: Direction, _: usize, _: bool) -> Result<Action, Fault> {
        match direction {
            Direction::Request => Err(Fault::Trap),
            Direction::Response => Ok(Action::PauseWithoutBuffer),
        }
    }

    fn on_trailers(&self, _: Direction, _: usize) -> Result<Action, Fault> {
        Ok(Action::Continue)
    }

    fn on_end(&self) {}
}

fn context() -> Rc<FilterContext> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let info = RequestInfo {
        client: address.into(),
        local: address.into(),
        connection: 1,
        tls: false,
        certificate: None,
        identity: None,
        request_id: None,
        trace: None,
        method: Method::POST,
        version: Version::HTTP_11,
        listener: "web".into(),
        route: "all".into(),
        request_bytes_max: None,
        began: Instant::now(),
    };
    let authority = HeaderValue::from_static("a");
    let head = RequestHead::new(Method::POST, Uri::default(), authority, "http", Fields::new());
    let policy = Policy {
        fails_open: true,
        body_while_head_held: false,
        sees_local_responses: true,
        decode: true,
        body_bytes_max: 1024,
        output_bytes_max: 1024,
        pause: std::time::Duration::from_secs(1),
    };
    let filter: Arc<dyn Filter> = Arc::new(FailsOpen(policy));
    FilterContext::begin(&filter, &Rc::new(FilteredExchange::new(info, head))).unwrap()
}

/// Gives the filter a piece of a body that is not the last one.
fn body(context: &FilterContext, direction: Direction, piece: &'static str) -> Option<Bytes> {
    context.on_body(direction, Bytes::from_static(piece.as_bytes()), false).unwrap()
}

#[test]
fn a_part_follows_the_parts_that_a_bypassed_filter_held() {
    let context = context();
    assert_eq!(body(&context, Direction::Response, "one"), None);
    assert_eq!(body(&context, Direction::Response, "two"), None);
    assert_eq!(body(&context, Direction::Request, "fault").unwrap(), "fault");
    // The next piece arrives before the check: in the poll in which the request failed.
    assert_eq!(body(&context, Direction::Response, "three").unwrap(), "onetwothree");
    assert_eq!(body(&context, Direction::Response, "four").unwrap(), "four");
    assert_eq!(context.check(Direction::Response).unwrap(), None);
}

#[test]
fn check_returns_the_parts_that_a_bypassed_filter_held_once() {
    let context = context();
    assert_eq!(body(&context, Direction::Response, "one"), None);
    assert_eq!(context.check(Direction::Response).unwrap(), None);
    assert_eq!(body(&context, Direction::Request, "fault").unwrap(), "fault");
    assert_eq!(context.check(Direction::Request).unwrap(), None);
    assert_eq!(context.check(Direction::Response).unwrap().unwrap(), "one");
    assert_eq!(context.check(Direction::Response).unwrap(), None);
}
