//! The attempts of an exchange, as its line in the access log and its trace have them.

use http::StatusCode;
use tokio::time::Instant;

use super::ExchangeLog;
use crate::http::error::Error;
use crate::net::clock;
use crate::upstream::{Endpoint, Progress, UpstreamRequest};

impl Progress for ExchangeLog {
    fn attempt(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        if let Some(filters) = &self.filters {
            filters.exchange.set_upstream(endpoint.shared_url(), endpoint.address());
        }
        if let Some(line) = &mut self.line {
            line.endpoint = Some(endpoint.shared_url().clone());
            line.attempts += 1;
            line.attempt_began = Some(clock::now());
            if let Some(trace) = &mut line.trace {
                trace.attempt(endpoint, request);
            }
        }
    }

    fn reused(&mut self) {
        if let Some(line) = &mut self.line {
            line.reused = Some(true);
            line.acquire = line.attempt_began.map(clock::since);
            if let Some(trace) = &mut line.trace {
                trace.reused();
            }
        }
    }

    fn dialling(&mut self) {
        if let Some(line) = &mut self.line {
            line.reused = Some(false);
            line.acquire = line.attempt_began.map(clock::since);
            line.dial_began = Some(clock::now());
            if let Some(trace) = &mut line.trace {
                trace.dialling();
            }
        }
    }

    fn connected(&mut self, secured_from: Option<Instant>) {
        if let Some(line) = &mut self.line {
            line.connect = line.dial_began.map(clock::since);
            if let Some(trace) = &mut line.trace {
                trace.connected(secured_from);
            }
        }
    }

    fn moved(&mut self, endpoint: &Endpoint, is_reused: bool) {
        if let Some(filters) = &self.filters {
            filters.exchange.set_upstream(endpoint.shared_url(), endpoint.address());
        }
        if let Some(line) = &mut self.line {
            line.reused = Some(is_reused);
            line.acquire = line.acquire.or(line.attempt_began.map(clock::since));
            line.connect = line.dial_began.map(clock::since);
            if let Some(trace) = &mut line.trace {
                trace.moved(endpoint, is_reused);
            }
        }
    }

    fn hedged(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        if let Some(line) = &mut self.line {
            line.attempts += 1;
            if let Some(trace) = &mut line.trace {
                trace.hedged(endpoint, request);
            }
        }
    }

    fn overtaken(&mut self, endpoint: &Endpoint, is_reused: bool) {
        if let Some(filters) = &self.filters {
            filters.exchange.set_upstream(endpoint.shared_url(), endpoint.address());
        }
        if let Some(line) = &mut self.line {
            line.endpoint = Some(endpoint.shared_url().clone());
            line.reused = Some(is_reused);
            // These are times of the other attempt.
            (line.acquire, line.connect) = (None, None);
            if let Some(trace) = &mut line.trace {
                trace.overtaken(is_reused);
            }
        }
    }

    fn attempted(&mut self, outcome: Result<StatusCode, Error>) {
        if let Some(trace) = self.trace_mut() {
            trace.attempted(outcome);
        }
    }
}
