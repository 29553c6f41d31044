//! `/api/routes`: the routes and their requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::Operators;
use crate::config::{AuthUse, Loaded, OrOff, UpstreamChoice};
use crate::control::compile::generation::Generation;
use crate::control::history::{History, RouteRecent};
use crate::observe::metrics::{CODE_CLASSES, DURATION_BOUNDS, RouteStats};
use crate::path;
use crate::snapshot::{Action, Route};

/// The routes in the order of precedence: the first one that matches a request serves it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RoutesReport {
    /// The upper bounds of the counts in `durations`, in seconds. The last count has no bound.
    duration_bounds_seconds: [f64; DURATION_BOUNDS.len()],
    /// One entry for each route, and a last one, `-`, for the requests that match none.
    routes: Vec<RouteReport>,
}

/// A route and its requests since it was made. A route that a reload leaves in place keeps counting.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RouteReport {
    /// Its name in logs and metrics.
    name: String,
    /// Its conditions in short: `GET api.example.com/users/* ?page x-version:`. Values of headers and parameters are left out.
    #[serde(rename = "match")]
    matches: String,
    /// The listeners that it is served on; empty for all.
    listeners: Vec<String>,
    /// Its action: `upstream`, `split`, `respond`, `redirect`, or `none` for requests without a route.
    action: &'static str,
    /// The upstreams that it forwards to, by name; for one that is written in the route, the route's.
    upstreams: Vec<String>,
    /// The ways of authentication, of which it accepts any.
    auth: Vec<String>,
    filters: Vec<String>,
    /// Requests that have begun and not ended.
    in_flight: u64,
    /// Requests that have ended, by class of the status: `2xx`, or `none` if the client got no response.
    requests: BTreeMap<&'static str, u64>,
    /// Requests that failed, by reason: the `x-gateway-error` of the response.
    errors: BTreeMap<&'static str, u64>,
    request_body_bytes: u64,
    response_body_bytes: u64,
    /// The sum of the durations of all requests that have ended, in seconds.
    duration_seconds: f64,
    /// Requests that have ended, by duration: see `duration_bounds_seconds`.
    durations: Vec<u64>,
    /// The last minute.
    recent: RouteRecent,
    /// The time of its last request that ended, to a few seconds, in seconds of Unix time; null if there was none.
    last_used: Option<f64>,
}

/// The parts of a route that are as it is written.
#[derive(Default)]
struct Written {
    matches: String,
    listeners: Vec<String>,
    upstreams: Vec<String>,
    auth: Vec<String>,
    filters: Vec<String>,
}

impl Operators {
    pub(super) fn routes_report(&self) -> RoutesReport {
        let generation = self.status.generation();
        let (written, samples) = (written(&generation.loaded), self.status.samples());
        let routes = generation.snapshot.router.routes().map(|(_, route)| {
            let written = written.get(&*route.name).map(|index| Written::of(&generation.loaded, *index));
            RouteReport::of(route, written.unwrap_or_default(), samples)
        });
        let routes = routes.chain([RouteReport::unrouted(&generation, samples)]).collect();
        RoutesReport { duration_bounds_seconds: DURATION_BOUNDS, routes }
    }
}

/// Returns the positions of the routes in the file, by their names.
fn written(loaded: &Loaded) -> HashMap<String, usize> {
    loaded.config.routes.iter().enumerate().map(|(index, route)| (route.name(), index)).collect()
}

impl Written {
    fn of(loaded: &Loaded, index: usize) -> Self {
        let Some(route) = loaded.config.routes.get(index) else { return Self::default() };
        let base = path!["routes", index];
        let upstreams = match &route.upstream {
            None => Vec::new(),
            Some(UpstreamChoice::Named(name)) => vec![name.clone()],
            Some(UpstreamChoice::Inline(_)) => vec![route.name()],
            Some(UpstreamChoice::Split(parts)) => parts.iter().map(|part| part.to.clone()).collect(),
        };
        let auth = route.auth.as_ref().or(loaded.config.defaults.auth.as_ref()).and_then(OrOff::as_on);
        Self {
            matches: route
                .matches_in_short(&|keys, value| loaded.source.shown(&[&base, keys].concat(), &value)),
            listeners: route.listeners.clone().unwrap_or_default(),
            upstreams,
            auth: auth.map(AuthUse::names).map(<[String]>::to_vec).unwrap_or_default(),
            filters: loaded.config.filters_written(route).iter().map(|one| one.name().into_owned()).collect(),
        }
    }
}

impl RouteReport {
    fn of(route: &Route, written: Written, samples: &History) -> Self {
        let action = match route.action {
            Action::Upstream(_) => "upstream",
            Action::Split(_) => "split",
            Action::Respond(_) => "respond",
            Action::Redirect(_) => "redirect",
        };
        Self {
            matches: written.matches,
            listeners: written.listeners,
            action,
            upstreams: written.upstreams,
            auth: written.auth,
            filters: written.filters,
            ..Self::counted(&route.stats, samples)
        }
    }

    fn unrouted(generation: &Generation, samples: &History) -> Self {
        Self::counted(&generation.snapshot.telemetry.unrouted, samples)
    }

    /// Returns the part of a report that is counted.
    fn counted(stats: &Arc<RouteStats>, samples: &History) -> Self {
        let totals = stats.totals();
        let (recent, last_used) = samples.route(stats);
        Self {
            name: stats.route().to_owned(),
            matches: String::new(),
            listeners: Vec::new(),
            action: "none",
            upstreams: Vec::new(),
            auth: Vec::new(),
            filters: Vec::new(),
            in_flight: totals.in_flight,
            requests: CODE_CLASSES.into_iter().zip(totals.codes).filter(|(_, count)| *count > 0).collect(),
            errors: totals.errors.into_iter().collect(),
            request_body_bytes: totals.bytes_in,
            response_body_bytes: totals.bytes_out,
            duration_seconds: totals.duration.as_secs_f64(),
            durations: totals.durations.to_vec(),
            recent: (&recent).into(),
            last_used,
        }
    }
}
