//! Tests of a route's limits together. Each has routes of its own, because all share the table of the process.

use std::net::IpAddr;

use super::*;
use crate::config::section;

const SECOND: Duration = Duration::from_secs(1);

fn limits(route: &str, yaml: &str) -> RateLimits {
    let written: config::RateLimits = section(yaml);
    RateLimits::new(route, written.as_slice(), &Stores::new()).unwrap()
}

/// Decides about a request from the address `192.0.2.N`.
fn request(limits: &RateLimits, client: u8, now: Duration) -> Result<Admission, Refusal> {
    let client = Some(IpAddr::from([192, 0, 2, client]));
    limits.request(&Caller { client, identity: None, headers: &Fields::new() }, now)
}

fn value(fields: &Fields, name: &str) -> String {
    fields.get(name).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn fields_count_the_requests_that_are_left() {
    let limits = limits("fields", "{ rate: 10/s, burst: 2 }");
    let admitted = request(&limits, 1, SECOND).ok().unwrap();
    assert_eq!(value(&admitted.fields, "ratelimit-policy"), r#""second";q=2;w=1"#);
    assert_eq!(value(&admitted.fields, "ratelimit"), r#""second";r=1;t=1"#);
    assert!(admitted.fields.get("retry-after").is_none());
    assert!(request(&limits, 1, SECOND).is_ok() && request(&limits, 2, SECOND).is_ok());
    let refused = request(&limits, 1, SECOND).err().unwrap();
    assert_eq!(refused.error, Error::RateLimit);
    assert_eq!(value(&refused.fields, "ratelimit"), r#""second";r=0;t=1"#);
    assert_eq!(value(&refused.fields, "retry-after"), "1");
}

#[test]
fn request_that_one_limit_refuses_is_charged_to_none() {
    let limits = limits("several", "[{ rate: 10/h, by: route }, { rate: 1/s }, { rate: 1/h, burst: 100 }]");
    assert!(request(&limits, 1, SECOND).is_ok());
    for _ in 0..50 {
        let refused = request(&limits, 1, SECOND).err().unwrap();
        assert_eq!(
            value(&refused.fields, "ratelimit-policy"),
            r#""hour";q=10;w=3600, "second";q=1;w=1, "hour2";q=100;w=360000"#
        );
        assert_eq!(
            value(&refused.fields, "ratelimit"),
            r#""hour";r=9;t=360, "second";r=0;t=1, "hour2";r=99;t=3600"#
        );
    }
    let admitted = (2..100).filter(|client| request(&limits, *client, SECOND).is_ok()).count();
    assert_eq!(admitted, 9);
    let refused = request(&limits, 1, 2 * SECOND).err().unwrap();
    assert_eq!(value(&refused.fields, "retry-after"), "359");
}

#[test]
fn states_survive_a_reload_and_a_changed_rate_applies_at_once() {
    let before = limits("reload", "{ rate: 1/h, burst: 2 }");
    assert!(request(&before, 1, SECOND).is_ok() && request(&before, 1, SECOND).is_ok());
    let same = limits("reload", "{ rate: 1/h, burst: 2 }");
    assert!(before == same && request(&same, 1, SECOND).is_err());
    let raised = limits("reload", "{ rate: 3600/h, burst: 2 }");
    assert!(before != raised && request(&raised, 1, SECOND).is_err());
    assert!(request(&limits("other", "{ rate: 1/h }"), 1, SECOND).is_ok());
    // It gives the first request back after a second.
    assert!(request(&raised, 1, 2 * SECOND).is_ok() && request(&raised, 1, 2 * SECOND).is_err());
}

#[test]
fn request_that_leaves_the_queue_gives_its_turn_back() {
    let limits = limits("queue", "{ rate: 10/s, burst: 1, queue: 250ms }");
    assert!(request(&limits, 1, SECOND).ok().unwrap().queued.is_none());
    let wait = |admission: Result<Admission, Refusal>| admission.ok().unwrap().queued.unwrap();
    let first = wait(request(&limits, 1, SECOND));
    let second = wait(request(&limits, 1, SECOND));
    assert_eq!([first.wait(), second.wait()], [Duration::from_millis(100), Duration::from_millis(200)]);
    let refused = request(&limits, 1, SECOND).err().unwrap();
    assert_eq!(value(&refused.fields, "retry-after"), "1");
    drop(second);
    let second = wait(request(&limits, 1, SECOND));
    assert_eq!(second.wait(), Duration::from_millis(200));
    second.keep();
    assert!(request(&limits, 1, SECOND).is_err());
}

#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "a measurement")]
fn cost_of_a_limit() {
    const REQUESTS: u32 = 1_000_000;
    for (name, yaml) in
        [("one", "{ rate: 1000000/s }"), ("two", "[{ rate: 1000000/s }, { rate: 1000000/m }]")]
    {
        let limits = limits(&format!("cost-{name}"), yaml);
        for round in 0..3 {
            let began = std::time::Instant::now();
            for number in 0..REQUESTS {
                let now = Duration::from_micros((round * REQUESTS + number).into());
                let admitted = request(&limits, number as u8, now);
                assert!(std::hint::black_box(admitted).is_ok());
            }
            println!("{name}: {:?}", began.elapsed() / REQUESTS);
        }
    }
}
