//! The problems that the process has at the moment, in words.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::net::tls::EXPIRES_SOON;
use crate::observe::metrics::{PoolReport, RouteCounts};
use crate::snapshot::Action;

/// The problems that are listed; more are a number.
const SHOWN_MAX: usize = 50;

/// The part of a route's requests that fail from which this is a problem.
const FAILING_SHARE: f64 = 0.1;

/// Something that an operator may have to act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Concern {
    severity: Severity,
    /// The subject: `configuration`, `upstream`, `route`, `pool`, `store`, `certificate`, `access_log`, or `process`.
    about: &'static str,
    /// The name of the upstream, route, pool, store or listener; empty for the others.
    name: String,
    /// One sentence.
    text: String,
}

/// The urgency of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Requests fail, or a part of the program does not work.
    Error,
    /// Requests wait, or will fail if nothing changes.
    Warning,
}

impl Operators {
    pub(super) fn problems(&self) -> Vec<Concern> {
        let generation = self.status.generation();
        let mut problems: Vec<Concern> = self.process_problems().collect();
        let pools = generation.snapshot.pools();
        problems.extend(pools.iter().flat_map(of_pool));
        problems.extend(self.failing_routes());
        let away = generation.snapshot.stores().into_iter().filter(|store| !store.is_up);
        problems.extend(away.map(|store| {
            let text = "the store does not respond; `on_error` decides about its limits".to_owned();
            Concern { severity: Severity::Error, about: "store", name: store.store, text }
        }));
        problems.extend(self.expiring(&pools, SystemTime::now()));
        problems.sort_by_key(|problem| problem.severity);
        let more = problems.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            problems.truncate(SHOWN_MAX);
            problems.push(warning("process", String::new(), format!("{more} more problems are not listed")));
        }
        problems
    }

    /// Returns the routes to upstreams of which many requests failed in the last minute. A route that responds by itself does what it says.
    fn failing_routes(&self) -> Vec<Concern> {
        let snapshot = &self.status.generation().snapshot;
        let routes = snapshot.router.routes().map(|(_, route)| route);
        let forwarding =
            routes.filter(|route| matches!(route.action, Action::Upstream(_) | Action::Split(_)));
        let failing = self.status.samples().failing(forwarding.map(|route| &route.stats));
        let concerns = failing.into_iter().filter(|(_, window)| window.error_share() >= Some(FAILING_SHARE));
        concerns
            .map(|(stats, window)| of_route(stats.route(), &window.counts, stats.first_error_reason()))
            .collect()
    }

    /// Returns the certificates that will not be valid for long, of listeners and of the servers of upstreams.
    fn expiring(&self, pools: &[PoolReport], now: SystemTime) -> Vec<Concern> {
        let snapshot = &self.status.generation().snapshot;
        let listeners = snapshot.listeners.iter().flat_map(|listener| {
            let certificates = listener.tls.iter().flat_map(|tls| tls.certificates.iter());
            certificates.map(|(file, certificate)| {
                (
                    listener.name.to_string(),
                    format!("the certificate in {}", file.display()),
                    certificate.not_after,
                )
            })
        });
        let servers = pools.iter().filter_map(|pool| {
            let not_after = UNIX_EPOCH + Duration::from_secs(pool.certificate_expires?);
            Some((
                pool.pool.clone(),
                format!("the certificate of the server at {}", pool.endpoint),
                not_after,
            ))
        });
        let all: BTreeSet<_> = listeners.chain(servers).collect();
        all.into_iter()
            .filter_map(|(name, subject, not_after)| expiry(name, &subject, not_after, now))
            .collect()
    }

    fn process_problems(&self) -> impl Iterator<Item = Concern> {
        let refused = self.status.first_error().map(|error| Concern {
            severity: Severity::Error,
            about: "configuration",
            name: String::new(),
            text: format!(
                "the files on disk were refused, and the configuration before them serves: {error}"
            ),
        });
        let (ready, word) = self.readiness.as_word();
        let draining =
            (!ready).then(|| warning("process", String::new(), format!("/ready answers 503: {word}")));
        let dropped =
            self.status.generation().access_log.as_ref().map_or(0, |log| log.counts().all_dropped());
        let log = (dropped > 0).then(|| {
            let text = format!("{dropped} lines of the access log could not be written since it was opened");
            warning("access_log", String::new(), text)
        });
        [refused, draining, log].into_iter().flatten()
    }
}

/// Returns the problem that a certificate is, if it expires soon or has expired.
fn expiry(name: String, subject: &str, not_after: SystemTime, now: SystemTime) -> Option<Concern> {
    let date = httpdate::fmt_http_date(not_after);
    let (severity, text) = match not_after.duration_since(now) {
        Err(_) => (Severity::Error, format!("{subject} has expired on {date}")),
        Ok(left) if left < EXPIRES_SOON => (Severity::Warning, format!("{subject} expires on {date}")),
        Ok(_) => return None,
    };
    Some(Concern { severity, about: "certificate", name, text })
}

/// Returns the problem of a route of which requests failed. `first` is the most frequent reason of such failures since the route
/// was made.
fn of_route(route: &str, counts: &RouteCounts, first: Option<&str>) -> Concern {
    let RouteCounts { requests, errors, .. } = counts;
    let why =
        first.map_or_else(String::new, |reason| format!("; the most frequent reason so far is {reason}"));
    let text = format!("{errors} of {requests} requests of this route failed in the last minute{why}");
    Concern { severity: Severity::Error, about: "route", name: route.to_owned(), text }
}

fn warning(about: &'static str, name: String, text: String) -> Concern {
    Concern { severity: Severity::Warning, about, name, text }
}

/// Returns the problems of a pool and its endpoint.
fn of_pool(pool: &PoolReport) -> Vec<Concern> {
    let at = if pool.address.is_empty() || pool.endpoint.contains(&pool.address) {
        pool.endpoint.clone()
    } else {
        format!("{} ({})", pool.endpoint, pool.address)
    };
    let mut texts = Vec::new();
    match pool.health {
        "ejected" => {
            let left = pool
                .ejected_for
                .map_or_else(String::new, |left| format!(" for {} s more", left.as_secs() + 1));
            texts.push((
                Severity::Error,
                "upstream",
                format!("{at} is ejected after failures in a row, and gets no requests{left}"),
            ));
        }
        "unhealthy" => {
            let why = pool.last_probe_failure.as_deref().unwrap_or("its probes fail");
            texts.push((
                Severity::Error,
                "upstream",
                format!("{at} is unhealthy, and gets no requests: {why}"),
            ));
        }
        _ => {}
    }
    match pool.breaker {
        Some("open") => texts.push((
            Severity::Error,
            "upstream",
            format!("the breaker is open: requests to {at} are answered with 503"),
        )),
        Some("half_open") => texts.push((
            Severity::Warning,
            "upstream",
            format!("the breaker is half open: one request to {at} decides"),
        )),
        _ => {}
    }
    if pool.pending > 0 {
        let used = pool.idle + pool.active + pool.connecting;
        texts.push((
            Severity::Warning,
            "pool",
            format!(
                "{} requests wait for a connection to {at}, of which {used} of {} are open or being opened",
                pool.pending, pool.max_connections
            ),
        ));
    }
    texts
        .into_iter()
        .map(|(severity, about, text)| Concern { severity, about, name: pool.pool.clone(), text })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pool: PoolReport) -> Vec<String> {
        of_pool(&PoolReport { endpoint: "http://10.0.0.1:80".into(), address: "10.0.0.1:80".into(), ..pool })
            .into_iter()
            .map(|problem| problem.text)
            .collect()
    }

    #[test]
    fn pool_without_a_problem_has_none() {
        assert!(
            texts(PoolReport {
                health: "healthy",
                breaker: Some("closed"),
                idle: 3,
                ..PoolReport::default()
            })
            .is_empty()
        );
    }

    #[test]
    fn certificate_is_a_problem_from_two_weeks_before_its_end() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let of = |days: i64| {
            let not_after = UNIX_EPOCH + Duration::from_secs((1_700_000_000 + days * 86_400) as u64);
            expiry("web".into(), "it", not_after, now).map(|concern| (concern.severity, concern.text))
        };
        assert_eq!(of(14), None);
        assert_eq!(of(13), Some((Severity::Warning, "it expires on Mon, 27 Nov 2023 22:13:20 GMT".into())));
        assert_eq!(of(-1), Some((Severity::Error, "it has expired on Mon, 13 Nov 2023 22:13:20 GMT".into())));
    }

    #[test]
    fn failing_route_names_its_requests_and_the_most_frequent_reason() {
        let counts = RouteCounts { requests: 20, errors: 19, ..RouteCounts::default() };
        let text = |first| of_route("search", &counts, first).text;
        assert_eq!(text(None), "19 of 20 requests of this route failed in the last minute");
        assert_eq!(
            text(Some("connect")),
            "19 of 20 requests of this route failed in the last minute; the most frequent reason so far is connect"
        );
    }

    #[test]
    fn each_state_that_refuses_or_delays_requests_is_a_sentence() {
        let ejected = PoolReport {
            health: "ejected",
            ejected_for: Some(Duration::from_millis(1500)),
            ..PoolReport::default()
        };
        assert_eq!(
            texts(ejected),
            ["http://10.0.0.1:80 is ejected after failures in a row, and gets no requests for 2 s more"]
        );
        let unhealthy = PoolReport {
            health: "unhealthy",
            last_probe_failure: Some("status 500".into()),
            ..PoolReport::default()
        };
        assert_eq!(texts(unhealthy), ["http://10.0.0.1:80 is unhealthy, and gets no requests: status 500"]);
        let waiting = PoolReport {
            pending: 3,
            active: 7,
            connecting: 1,
            max_connections: 8,
            breaker: Some("open"),
            ..PoolReport::default()
        };
        assert_eq!(
            texts(waiting),
            [
                "the breaker is open: requests to http://10.0.0.1:80 are answered with 503",
                "3 requests wait for a connection to http://10.0.0.1:80, of which 8 of 8 are open or being opened",
            ]
        );
    }
}
