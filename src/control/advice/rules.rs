//! The rules.

use std::time::Duration;

use super::subject::{CONNECTIONS_MIN, Found, REACHED_MIN, Subject, Urgency};
use super::words::{per_cent, setting, setting_or_off, time};
use crate::config::MaxConcurrent;
use crate::observe::metrics::AWAITED_DIAL_CLASSES;

/// All rules, in the order in which their advice is shown if it is equally urgent.
pub(super) const ALL: [fn(Subject<'_>) -> Option<Found>; 11] = [
    max_connections,
    max_concurrent,
    max_pending,
    acquire_timeout,
    ejections,
    keep_alive,
    max_idle,
    max_lifetime,
    max_requests,
    min_idle,
    idle_timeout,
];

/// A lifetime that no server asks for less than.
const LIFETIME_ENOUGH: Duration = Duration::from_secs(60);

/// The part of dials that advice about `min_idle` saves.
const SAVED_MIN: f64 = 0.9;

/// The most connections that are advised to be kept without requests.
const MIN_IDLE_MAX: u64 = 64;

fn max_connections(subject: Subject<'_>) -> Option<Found> {
    if !subject.lacks_connections() {
        return None;
    }
    let Subject { window, settings, report } = subject;
    let needed = subject.connections_needed();
    let mut text = format!(
        "max_connections {} was reached {} of {}; {}{}: {needed} would have sufficed",
        settings.max_connections,
        per_cent(window.share_of(window.max_connections_reached)),
        subject.last(),
        subject.waits(),
        subject.refusals(),
    );
    if report.requests_per_connection > 1 {
        text.push_str(&format!(
            " for {} requests at once, {} on each connection",
            window.peak_requests, report.requests_per_connection
        ));
    }
    Some(Found {
        urgency: subject.urgency(),
        setting: Some("pool.max_connections"),
        value: Some(settings.max_connections.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

fn max_concurrent(subject: Subject<'_>) -> Option<Found> {
    let Subject { window, settings, report } = subject;
    let share = window.share_of(window.max_concurrent_reached);
    let limit = report.max_concurrent?;
    if share < REACHED_MIN && subject.count("max_concurrent") == 0 || window.peak_requests <= limit {
        return None;
    }
    let (reached, last, waits) = (per_cent(share), subject.last(), subject.waits());
    let refused = subject.refusals();
    if settings.max_concurrent == MaxConcurrent::Auto {
        let text = format!(
            "max_concurrent auto, at present {limit}, was reached {reached} of {last}; {waits}{refused}: the server's response times hold \
             the limit down, so the server is what is too small"
        );
        let value = Some("auto".to_owned());
        let setting = Some("max_concurrent");
        return Some(Found { urgency: subject.urgency(), setting, value, suffices: None, text });
    }
    let needed = window.peak_requests;
    let text = format!(
        "max_concurrent {limit} was reached {reached} of {last}; {waits}{refused}: {needed} would have sufficed, if the server can serve as many"
    );
    Some(Found {
        urgency: subject.urgency(),
        setting: Some("max_concurrent"),
        value: Some(limit.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

/// Refusals while connections were being opened, which more connections would not have prevented.
fn max_pending(subject: Subject<'_>) -> Option<Found> {
    let refused = subject.count("pool.max_pending");
    let Subject { window, settings, report } = subject;
    if refused == 0 || subject.was_limited() {
        return None;
    }
    let served = settings.max_connecting as u64 * report.requests_per_connection;
    let needed = window.peak_requests.saturating_sub(served);
    if needed <= settings.max_pending as u64 {
        return None;
    }
    let text = format!(
        "max_pending {} refused {refused} requests in {}, while connections were being opened: {needed} would have let them wait",
        settings.max_pending,
        subject.last(),
    );
    Some(Found {
        urgency: Urgency::Refuses,
        setting: Some("pool.max_pending"),
        value: Some(settings.max_pending.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

/// Requests that gave up waiting, although no limit on connections was in the way.
fn acquire_timeout(subject: Subject<'_>) -> Option<Found> {
    let refused = subject.count("pool.acquire_timeout");
    let Subject { window, settings, .. } = subject;
    let limit = settings.acquire_timeout?;
    if refused == 0 || subject.was_limited() {
        return None;
    }
    let text = format!(
        "acquire_timeout {} refused {refused} requests in {}, while {} attempts to connect failed: opening connections takes too long",
        setting(limit),
        subject.last(),
        window.connect_failed,
    );
    let value = Some(setting(limit));
    Some(Found {
        urgency: Urgency::Refuses,
        setting: Some("pool.acquire_timeout"),
        value,
        suffices: None,
        text,
    })
}

fn ejections(subject: Subject<'_>) -> Option<Found> {
    let Subject { window, report, .. } = subject;
    if window.ejections > 0 {
        let times =
            if window.ejections == 1 { "once".to_owned() } else { format!("{} times", window.ejections) };
        let text = format!(
            "the endpoint was ejected {times} in {}, after failures in a row; the log says which: it is the server that needs attention, and \
             no limit of the gateway",
            subject.last(),
        );
        return Some(Found { urgency: Urgency::Refuses, setting: None, value: None, suffices: None, text });
    }
    let is_open = report.breaker.is_some_and(|state| state != "closed");
    is_open.then(|| {
        let text = "the breaker is open, because too many requests failed; the log says why: it is the server that needs attention, and \
                    no limit of the gateway";
        Found { urgency: Urgency::Refuses, setting: None, value: None, suffices: None, text: text.to_owned() }
    })
}

fn keep_alive(subject: Subject<'_>) -> Option<Found> {
    let closed = subject.count("keep_alive_off");
    if subject.settings.keep_alive || closed < CONNECTIONS_MIN {
        return None;
    }
    let text = format!(
        "keep_alive false closed {closed} connections in {}, each after one request: with true, {} would have served all",
        subject.last(),
        subject.connections_needed(),
    );
    Some(Found {
        urgency: Urgency::Wastes,
        setting: Some("pool.keep_alive"),
        value: Some("false".to_owned()),
        suffices: Some("true".to_owned()),
        text,
    })
}

fn max_idle(subject: Subject<'_>) -> Option<Found> {
    let Subject { window, settings, .. } = subject;
    let closed = subject.closed_mainly("max_idle")?;
    let needed = subject.connections_needed().min(settings.max_connections as u64);
    if needed <= settings.max_idle as u64 {
        return None;
    }
    let text = format!(
        "max_idle {} closed {closed} connections in {}, while {} were opened: {needed} would have kept them",
        settings.max_idle,
        subject.last(),
        window.opened,
    );
    Some(Found {
        urgency: Urgency::Wastes,
        setting: Some("pool.max_idle"),
        value: Some(settings.max_idle.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

fn max_lifetime(subject: Subject<'_>) -> Option<Found> {
    let limit = subject.settings.max_lifetime.filter(|limit| *limit < LIFETIME_ENOUGH)?;
    let closed = subject.closed_mainly("max_lifetime")?;
    let text = format!(
        "max_lifetime {} closed {closed} of {} connections that were opened in {}: the default of 10m would have kept them",
        setting(limit),
        subject.window.opened,
        subject.last(),
    );
    Some(Found {
        urgency: Urgency::Wastes,
        setting: Some("pool.max_lifetime"),
        value: Some(setting(limit)),
        suffices: Some("10m".to_owned()),
        text,
    })
}

fn max_requests(subject: Subject<'_>) -> Option<Found> {
    let limit = subject.settings.max_requests?;
    let closed = subject.closed_mainly("max_requests")?;
    // Such that a hundredth of the requests opens a connection.
    let needed = 100;
    if limit >= needed {
        return None;
    }
    let text = format!(
        "max_requests {limit} closed {closed} connections in {}, after {limit} requests each: with {needed}, one request in {needed} would open a \
         connection",
        subject.last(),
    );
    Some(Found {
        urgency: Urgency::Wastes,
        setting: Some("pool.max_requests"),
        value: Some(limit.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

/// Dials in requests' way that come from idleness: connections that a limit closes are another rule's.
fn min_idle(subject: Subject<'_>) -> Option<Found> {
    let Subject { window, settings, report } = subject;
    let dials: u64 = window.awaited_dials.iter().sum();
    let closed_by_limits = ["keep_alive_off", "max_idle", "max_lifetime", "max_requests", "max_connections"]
        .iter()
        .any(|reason| subject.closed_mainly(reason).is_some());
    // A worker that starts opens its first connections anyway.
    let is_seldom = dials < CONNECTIONS_MIN.max(2 * subject.connections_needed());
    // No connection can be kept to a server that takes none.
    let mostly_fails = window.connect_failed > window.opened;
    if !settings.keep_alive || closed_by_limits || is_seldom || mostly_fails {
        return None;
    }
    let (needed, saved) = kept_for(&window.awaited_dials, dials)?;
    let now = settings.min_idle as u64;
    if needed <= now || needed > (settings.max_idle as u64).min(MIN_IDLE_MAX) {
        return None;
    }
    let is_tls = report.tls_handshakes > 0;
    let noun = if is_tls { "TLS handshakes" } else { "connects" };
    let text = format!(
        "min_idle {needed} would have saved {} of the {dials} {noun} in requests' way in {}{}",
        per_cent(saved),
        subject.last(),
        if now == 0 { String::new() } else { format!("; it is {now}") },
    );
    Some(Found {
        urgency: Urgency::Delays,
        setting: Some("pool.min_idle"),
        value: Some(now.to_string()),
        suffices: Some(needed.to_string()),
        text,
    })
}

/// Returns the number of connections that would have had to be idle, and the part of dials that it would have saved.
fn kept_for(awaited_dials: &[u64; AWAITED_DIAL_CLASSES], dials: u64) -> Option<(u64, f64)> {
    let mut saved = 0;
    // The last class has no upper end.
    let (_, bounded) = awaited_dials.split_last()?;
    bounded.iter().enumerate().find_map(|(class, count)| {
        saved += count;
        let share = saved as f64 / dials as f64;
        (share >= SAVED_MIN).then_some((1 << class, share))
    })
}

/// The server closes idle connections sooner than the pool.
fn idle_timeout(subject: Subject<'_>) -> Option<Found> {
    let Subject { report, settings, .. } = subject;
    let limit = report.learned_idle_timeout?;
    if settings.idle_timeout.is_some_and(|timeout| timeout <= limit) {
        return None;
    }
    let whole = match limit.as_secs() {
        0 => Duration::from_millis(limit.as_millis() as u64 / 100 * 100),
        seconds => Duration::from_secs(seconds),
    };
    let closes = limit.mul_f64(10.0 / 9.0).as_secs_f64();
    let text = format!(
        "the server closes idle connections after {}, seen {} times, and idle_timeout is {}: the pool has lowered it to {} by itself; {} \
         would do so from the start",
        time(closes),
        report.learned_from,
        setting_or_off(settings.idle_timeout),
        time(limit.as_secs_f64()),
        setting(whole),
    );
    Some(Found {
        urgency: Urgency::Wastes,
        setting: Some("pool.idle_timeout"),
        value: Some(setting_or_off(settings.idle_timeout)),
        suffices: Some(setting(whole)),
        text,
    })
}

#[cfg(test)]
mod tests;
