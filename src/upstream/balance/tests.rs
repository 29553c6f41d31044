//! Tests of the choice by weight, load, response time and health, without requests.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::config::load::files::Files;
use crate::config::{self, PoolSettings};
use crate::net::clock;
use crate::upstream::candidates::Candidates;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::EndpointSet;
use crate::upstream::outcome::AttemptOutcome;
use crate::upstream::pool::{WorkerChannels, worker_channel};
use crate::upstream::request::Affinity;
use crate::upstream::targets::Targets;

/// Returns endpoints with these weights, and further keys of the upstream.
fn endpoints(weights: &[u32], keys: &Value) -> (Arc<Targets>, Arc<EndpointSet>) {
    let endpoints = weights.iter().enumerate();
    let endpoints: Vec<Value> = endpoints
        .map(
            |(number, weight)| json!({ "url": format!("http://127.0.0.1:{}", number + 1), "weight": weight }),
        )
        .collect();
    let mut written = json!({ "endpoints": endpoints });
    written.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let upstream: config::Upstream = serde_json::from_value(written).unwrap();
    let channels: WorkerChannels = [worker_channel(8).0].into();
    let targets =
        Targets::build(&upstream, &PoolSettings::default(), &channels, None, &Files::new()).unwrap();
    let current = targets.upstream().current();
    (targets, current)
}

/// Returns how many of these requests begin at each endpoint.
fn firsts(endpoints: &EndpointSet, requests: usize) -> Vec<usize> {
    let mut counts = vec![0; endpoints.len()];
    for _ in 0..requests {
        let first = Candidates::new(endpoints, Affinity::None).next().unwrap();
        counts[position(endpoints, first)] += 1;
    }
    counts
}

fn position(endpoints: &EndpointSet, endpoint: &Arc<Endpoint>) -> usize {
    endpoints.iter().position(|other| Arc::ptr_eq(other, endpoint)).unwrap()
}

fn take(endpoints: &EndpointSet, index: usize, outcome: AttemptOutcome, took: u64) {
    endpoints.record(endpoints.get(index).unwrap(), outcome, Duration::from_millis(took));
}

fn responds(endpoints: &EndpointSet, index: usize, took: u64) {
    take(endpoints, index, AttemptOutcome::Response(StatusCode::OK), took);
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_is_a_candidate_once() {
    for balance in ["p2c", "round_robin", "least_request", "random", "hash"] {
        let (_targets, endpoints) = endpoints(&[3, 1, 2], &json!({ "balance": balance }));
        for affinity in [Affinity::None, Affinity::Hash(7), Affinity::Endpoint(2), Affinity::Endpoint(3)] {
            for _ in 0..20 {
                let mut all: Vec<usize> = Candidates::new(&endpoints, affinity)
                    .map(|endpoint| position(&endpoints, endpoint))
                    .collect();
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2], "{balance}");
            }
        }
        assert!(Candidates::new(&EndpointSet::empty(), Affinity::None).next().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns() {
    let (_targets, endpoints) = endpoints(&[2, 1], &json!({ "balance": "round_robin" }));
    assert_eq!(firsts(&endpoints, 300), [200, 100]);
}

#[tokio::test(start_paused = true)]
async fn equal_endpoints_get_requests_by_weight() {
    for balance in ["p2c", "least_request", "random"] {
        let (_targets, endpoints) = endpoints(&[6, 3, 1], &json!({ "balance": balance }));
        let counts = firsts(&endpoints, 10_000);
        // Ten standard deviations.
        for (count, expected) in counts.iter().zip([6_000_usize, 3_000, 1_000]) {
            assert!(count.abs_diff(expected) < 500, "{balance}: {counts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_endpoint_gets_requests_again_when_its_time_is_forgotten() {
    let (_targets, endpoints) = endpoints(&[1, 1], &json!({ "balance": "p2c" }));
    responds(&endpoints, 0, 100);
    responds(&endpoints, 1, 10);
    assert_eq!(firsts(&endpoints, 100), [0, 100]);
    tokio::time::advance(Duration::from_secs(30)).await;
    clock::advance();
    assert!(firsts(&endpoints, 100)[0] > 20, "both are as good as unknown");
}

#[tokio::test(start_paused = true)]
async fn fast_failures_count_as_slow() {
    let (_targets, endpoints) = endpoints(&[1, 1, 1], &json!({ "balance": "p2c" }));
    take(&endpoints, 0, AttemptOutcome::Response(StatusCode::INTERNAL_SERVER_ERROR), 1);
    take(&endpoints, 1, AttemptOutcome::ConnectFailed, 1);
    responds(&endpoints, 2, 20);
    let counts = firsts(&endpoints, 300);
    // Where both of the bad ones are drawn, one of them is taken.
    assert!(counts[2] > 150, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn load_counts_by_weight() {
    for balance in ["p2c", "least_request"] {
        let (_targets, endpoints) = endpoints(&[4, 1], &json!({ "balance": balance }));
        let permits = |index: usize, count: usize| -> Vec<_> {
            let pool = endpoints.get(index).unwrap().pool();
            (0..count).map(|_| pool.try_permit().unwrap()).collect()
        };
        // Relative to their weights the first one has less to do.
        let busy = [permits(0, 8), permits(1, 4)];
        assert_eq!(firsts(&endpoints, 100), [100, 0], "{balance}");
        drop(busy);
        assert!(endpoints.iter().all(|endpoint| endpoint.pool().load() == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_comes_back_gets_a_growing_share() {
    for balance in ["p2c", "round_robin", "least_request", "random"] {
        let keys = json!({ "balance": balance, "health": { "passive": { "failures": 1 } } });
        let (_targets, endpoints) = endpoints(&[1, 1], &keys);
        // Of the status alone: a failure would count as slow.
        let unavailable = AttemptOutcome::Response(StatusCode::BAD_GATEWAY);
        take(&endpoints, 0, unavailable, 1);
        assert_eq!(firsts(&endpoints, 50), [0, 50], "{balance}");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(endpoints.get(0).unwrap().standing().share(clock::uptime()) < 0.2);
        let early = firsts(&endpoints, 1_000)[0];
        assert!((20..120).contains(&early), "{balance}: {early} of 1000, about a twentieth");
        tokio::time::advance(Duration::from_secs(5)).await;
        let later = firsts(&endpoints, 1_000)[0];
        assert!((180..400).contains(&later), "{balance}: {later} of 1000, a quarter to a third");
        tokio::time::advance(Duration::from_secs(5)).await;
        let full = firsts(&endpoints, 1_000)[0];
        assert!((400..600).contains(&full), "{balance}: {full} of 1000");
    }
}
