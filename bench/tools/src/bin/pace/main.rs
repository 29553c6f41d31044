//! A load generator that keeps its pace: so many requests a second, whatever becomes of them.
//!
//! Each request has its time. It is sent then, or as soon after as its connection is done with the one before, and its
//! latency counts from its time: a stall shows in every request that it held up. No request is dropped: each is answered
//! with 200 and a whole body, or counts as failed. A connection that its peer has closed between two requests is opened
//! again, which is no failure. With `--by-second`, the same is told of each second's requests.

mod client;
mod clock;
mod trusting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use http::Uri;
use serde_json::json;
use tokio::runtime;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::{JoinSet, LocalSet};

use client::{Client, Target};
use clock::Clock;

/// Latencies are kept from a microsecond to this, with three digits; longer ones count as this.
const LATENCY_MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;
/// How long requests that are under way at the end may take.
const GRACE: Duration = Duration::from_secs(10);
/// Between the last connection's opening and the first request.
const SETTLE: Duration = Duration::from_millis(50);

/// Sends GET requests at a fixed rate and prints what became of them, as JSON with latencies in microseconds.
#[derive(Parser)]
struct Arguments {
    /// What to ask for: http://ADDRESS:PORT/PATH, or https, whose certificate is not checked
    url: Uri,
    /// Requests per second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Connections, which take turns
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Tell of each second, too
    #[arg(long)]
    by_second: bool,
}

/// What has become of the requests so far.
struct Outcome {
    latencies: Histogram<u64>,
    /// The latencies of each second's requests, if these are wanted.
    seconds: Vec<Vec<u64>>,
    failed: u64,
    /// The first failure, for whoever asks why.
    failure: Option<String>,
    /// The number of each kind of failure.
    failures: BTreeMap<String, u64>,
    reconnected: u64,
}

#[allow(clippy::print_stdout, reason = "its results are its output")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", LocalSet::new().block_on(&runtime, measure(&arguments))?);
    Ok(())
}

/// Opens the connections, sends every request at its time, and waits for the last answers.
async fn measure(arguments: &Arguments) -> Result<serde_json::Value> {
    let total = arguments.rate.checked_mul(arguments.seconds).context("too many requests")?;
    ensure!(total >= arguments.connections, "fewer requests than connections");
    let target = Rc::new(Target::new(&arguments.url)?);
    let outcome =
        Rc::new(RefCell::new(Outcome::new(if arguments.by_second { arguments.seconds } else { 0 })?));
    let (mut clients, mut turns) = (JoinSet::new(), Vec::new());
    let mut requests = Vec::new();
    for _ in 0..arguments.connections {
        let client = Client::connect(Rc::clone(&target)).await.context("no connection")?;
        // Room for all of its requests: handing them out never waits.
        let (sender, receiver) = mpsc::channel(total.div_ceil(arguments.connections) as usize);
        requests.push((client, receiver));
        turns.push(sender);
    }
    let (mut clock, began) = (Clock::new()?, Instant::now() + SETTLE);
    if arguments.by_second {
        begins();
    }
    for (client, receiver) in requests {
        clients.spawn_local(serve(client, receiver, began, Rc::clone(&outcome)));
    }
    for (number, turn) in (0..total).zip(turns.iter().cycle()) {
        let due = began + Duration::from_secs(1) * number / arguments.rate;
        clock.wait_until(due).await?;
        turn.try_send(due).context("a client has ended")?;
    }
    drop(turns);
    let whole = tokio::time::timeout(GRACE, async { while clients.join_next().await.is_some() {} }).await;
    let mut outcome = outcome.borrow_mut();
    if whole.is_err() {
        outcome.give_up(total.into());
    }
    Ok(outcome.json(total, arguments.rate, began.elapsed()))
}

/// Tells the parent process, which has something happen meanwhile, that the first request is due after [`SETTLE`].
#[allow(clippy::print_stderr, reason = "standard output is for the results")]
fn begins() {
    eprintln!("begins");
}

/// Sends each request when its turn comes.
async fn serve(
    mut client: Client,
    mut turns: Receiver<Instant>,
    began: Instant,
    outcome: Rc<RefCell<Outcome>>,
) {
    while let Some(due) = turns.recv().await {
        let answer = client.ask().await;
        let mut outcome = outcome.borrow_mut();
        match answer {
            Ok(()) => outcome.record(due.duration_since(began), due.elapsed()),
            Err(error) => outcome.fail(format!("{error:#}")),
        }
        outcome.reconnected += client.reconnected();
    }
}

impl Outcome {
    /// Returns an outcome that tells of so many seconds one by one.
    fn new(seconds: u32) -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, DIGITS)?;
        let seconds = vec![Vec::new(); seconds as usize];
        Ok(Self { latencies, seconds, failed: 0, failure: None, failures: BTreeMap::new(), reconnected: 0 })
    }

    /// Takes the latency of a request that was due so long after the beginning.
    fn record(&mut self, due: Duration, latency: Duration) {
        let micros = latency.as_micros() as u64;
        self.latencies.saturating_record(micros);
        if let Some(second) = self.seconds.get_mut(due.as_secs() as usize) {
            second.push(micros);
        }
    }

    fn fail(&mut self, failure: String) {
        self.failed += 1;
        *self.failures.entry(failure.clone()).or_default() += 1;
        self.failure.get_or_insert(failure);
    }

    /// What has no answer yet gets none.
    fn give_up(&mut self, total: u64) {
        let unanswered = total - self.latencies.len() - self.failed;
        if unanswered > 0 {
            self.fail(format!("no answer within {} s after the end", GRACE.as_secs()));
            self.failed += unanswered - 1;
        }
    }

    fn json(&mut self, total: u32, rate: u32, took: Duration) -> serde_json::Value {
        let done = self.latencies.len();
        let seconds: Vec<_> = self.seconds.iter_mut().map(|latencies| of_second(latencies, rate)).collect();
        json!({
            "requests": total,
            "done": done,
            "failed": self.failed,
            "failure": self.failure,
            "failures": self.failures,
            "seconds": seconds,
            "reconnected": self.reconnected,
            "requests_per_second": done as f64 / took.as_secs_f64(),
            "p50": self.latencies.value_at_quantile(0.5),
            "p90": self.latencies.value_at_quantile(0.9),
            "p99": self.latencies.value_at_quantile(0.99),
            "p99_9": self.latencies.value_at_quantile(0.999),
            "max": self.latencies.max(),
        })
    }
}

/// Returns what became of a second's requests. Those that are not answered have failed.
fn of_second(latencies: &mut [u64], rate: u32) -> serde_json::Value {
    latencies.sort_unstable();
    let quantile = |part: f64| {
        let rank = (latencies.len() as f64 * part).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).copied()
    };
    json!({
        "failed": u64::from(rate) - latencies.len() as u64,
        "p50": quantile(0.5),
        "p99": quantile(0.99),
        "max": latencies.last(),
    })
}
