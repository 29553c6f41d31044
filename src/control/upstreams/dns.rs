//! Resolution of endpoint names to socket addresses, on the control plane: no request ever waits for DNS.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::Instant;

use super::resolver::{ResolveError, Resolver};
use super::services;
use crate::config::Resolve;
use crate::upstream::{Addresses, Name, NamedAddress, literal};

/// The shortest and the longest time between two lookups with `resolve: auto`.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(300);

/// The part of that time by which lookups are spread: names that were resolved together are not always asked for together.
const SPREAD: f64 = 0.1;

/// The pause after the first failure; each further one doubles it, up to that of the schedule.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest pause after a failure with `resolve: auto`, and with `off` until there are addresses.
const AUTO_RETRY_MAX: Duration = Duration::from_secs(30);
const ONCE_RETRY_MAX: Duration = Duration::from_secs(60);

/// The time between two warnings while lookups keep failing.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The result of a lookup: the addresses, and the time for which they hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) addresses: Addresses,
    pub(crate) ttl: Duration,
}

/// Resolves a name to those of its addresses that this machine has a route to, or all if it has a route to none. An IP address, with
/// or without brackets, resolves to itself. Of the `known` addresses, those stay that could not be asked for.
///
/// # Errors
/// Returns an error if there is no address within `dns.timeout`.
pub(crate) async fn resolve_once(
    resolver: &Arc<Resolver>,
    name: &Name,
    known: &[NamedAddress],
) -> Result<Resolved, ResolveError> {
    let (host, port) = (&*name.host, name.port);
    let (found, ttl) = if name.is_srv {
        services::resolve(resolver, host, known).await?
    } else if let Some(ip) = literal(host) {
        (vec![SocketAddr::new(ip, port).into()], Duration::MAX)
    } else {
        let found = resolver.addresses(host).await?;
        let answered = found.items.iter().map(|ip| SocketAddr::new(*ip, port).into());
        let is_unknown =
            |known: &&NamedAddress| found.unknown.is_some_and(|family| family.has(known.socket.ip()));
        (answered.chain(known.iter().filter(is_unknown).copied()).collect(), found.ttl)
    };
    let addresses =
        set(routed(found, has_route)).ok_or_else(|| ResolveError::Empty { host: host.to_owned() })?;
    Ok(Resolved { addresses, ttl })
}

/// Returns the addresses that have a route, or all if none has: the network may not be up yet.
fn routed(addresses: Vec<NamedAddress>, has_route: impl Fn(&SocketAddr) -> bool) -> Vec<NamedAddress> {
    let routed: Vec<_> = addresses.iter().copied().filter(|address| has_route(&address.socket)).collect();
    if routed.is_empty() { addresses } else { routed }
}

/// Returns true if this machine has a route to an address: on a machine with IPv4 only, a dual-stack name must not send
/// every other request where it cannot arrive. Connecting a UDP socket looks up the route and sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let from: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = match UdpSocket::bind((from, 0)) {
        Ok(socket) => socket,
        // A machine without the address family cannot bind. Any other error, as without free descriptors, says nothing.
        Err(error) => {
            let unsupported = Some(Errno::AFNOSUPPORT.raw_os_error());
            return error.raw_os_error() != unsupported && error.kind() != ErrorKind::AddrNotAvailable;
        }
    };
    let refused = socket.connect(address).err().map(|error| error.kind());
    !matches!(
        refused,
        Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable)
    )
}

fn set(mut addresses: Vec<NamedAddress>) -> Option<Addresses> {
    addresses.sort_unstable();
    addresses.dedup_by_key(|address| address.socket);
    if addresses.is_empty() { None } else { Some(addresses.into()) }
}

/// Returns the time from a successful lookup to the next one.
pub(crate) fn pause_after(resolve: Resolve, ttl: Duration) -> Duration {
    match resolve {
        Resolve::Auto => {
            let (spread, longest) = (SPREAD * fastrand::f64(), TTL_MAX);
            let pause = ttl.clamp(TTL_MIN, longest).mul_f64(1.0 + spread);
            pause.min(longest.mul_f64(1.0 - spread))
        }
        Resolve::Every(interval) => interval.into(),
        Resolve::Off => ONCE_RETRY_MAX,
    }
}

/// Returns the longest time from a lookup to the next one.
pub(crate) fn longest_pause(resolve: Resolve) -> Duration {
    match resolve {
        Resolve::Auto => TTL_MAX,
        Resolve::Every(interval) => interval.into(),
        Resolve::Off => ONCE_RETRY_MAX,
    }
}

/// Resolves `host` at once and then as `resolve` says, and sends its addresses when they have changed. Ends when no
/// receiver is left.
///
/// The channel starts with the known addresses: an empty set, or those from before a reload. A failure keeps the last
/// good ones, however old, because a result that was right a minute ago is better than none. Failures are logged at
/// WARN, the first at once. A name that was never resolved is logged once, at INFO: the failures of its requests report
/// the rest. Failed lookups are retried after a second, then two, four … `next` is called with the time of each lookup to come.
pub(crate) async fn keep_resolved<F, Fut>(
    host: &str,
    resolve: Resolve,
    lookup: F,
    addresses: &watch::Sender<Addresses>,
    next: impl Fn(Instant),
) where
    F: Fn(Addresses) -> Fut,
    Fut: Future<Output = Result<Resolved, ResolveError>>,
{
    tokio::select! {
        () = addresses.closed() => {}
        () = repeat(host, resolve, lookup, addresses, next) => {}
    }
}

/// Repeats a lookup like [`keep_resolved`], but never ends.
async fn repeat<F, Fut>(
    host: &str,
    resolve: Resolve,
    lookup: F,
    addresses: &watch::Sender<Addresses>,
    next: impl Fn(Instant),
) where
    F: Fn(Addresses) -> Fut,
    Fut: Future<Output = Result<Resolved, ResolveError>>,
{
    let retry_max = match resolve {
        Resolve::Auto => AUTO_RETRY_MAX,
        Resolve::Every(_) | Resolve::Off => longest_pause(resolve),
    };
    let mut failures = Failures::default();
    loop {
        let known = addresses.borrow().clone();
        let pause = match lookup(known).await {
            Ok(Resolved { addresses: found, ttl }) => {
                let had_failed = failures.end();
                if !publish(host, found, had_failed, addresses) && had_failed {
                    tracing::info!(host, "`{host}` can be resolved again; its addresses are the same");
                }
                pause_after(resolve, ttl)
            }
            Err(error) => {
                let kept = addresses.borrow().len();
                let is_news = failures.is_news(Instant::now(), kept);
                if is_news && kept > 0 {
                    tracing::warn!(host, kept, "{error}; its last known addresses remain in use");
                } else if is_news {
                    tracing::info!(
                        host,
                        "{error}; requests to it are answered with 503 until it can be resolved"
                    );
                }
                failures.pause().min(retry_max)
            }
        };
        let due = Instant::now() + pause;
        next(due);
        tokio::time::sleep_until(due).await;
    }
}

/// Sends the addresses if they have changed, and then returns true.
fn publish(host: &str, found: Addresses, had_failed: bool, addresses: &watch::Sender<Addresses>) -> bool {
    addresses.send_if_modified(|current| {
        if *current == found {
            return false;
        }
        if !current.is_empty() {
            tracing::info!(host, from = ?current, to = ?found, "addresses changed");
        } else if had_failed {
            tracing::info!(host, addresses = ?found, "`{host}` is resolved now");
        } else {
            tracing::debug!(host, addresses = ?found, "`{host}` is resolved");
        }
        *current = found;
        true
    })
}

/// A series of failed lookups.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    warned: Option<Instant>,
}

impl Failures {
    /// Counts a failure. Returns true if it is time for a warning.
    fn add(&mut self, now: Instant) -> bool {
        self.count = self.count.saturating_add(1);
        let due = self.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY);
        if due {
            self.warned = Some(now);
        }
        due
    }

    /// Counts a failure. Returns true if it should be logged: at intervals while known addresses are in use, and once
    /// per series if there are none.
    fn is_news(&mut self, now: Instant, kept: usize) -> bool {
        let is_due = self.add(now);
        if kept > 0 { is_due } else { self.count == 1 }
    }

    /// Returns the pause after the latest failure.
    fn pause(&self) -> Duration {
        RETRY_FIRST.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1)))
    }

    /// Ends the series after a success. Returns true if there was one.
    fn end(&mut self) -> bool {
        std::mem::take(self).count > 0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    const EVERY_30_S: Resolve = Resolve::Every(crate::config::Duration::from_secs(30));

    fn address(text: &str) -> NamedAddress {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn addresses(list: &[&str]) -> Addresses {
        set(list.iter().map(|text| address(text)).collect()).unwrap_or_default()
    }

    /// Runs `repeat` under paused time with these results, `None` for a failure, and then nothing more. Returns the
    /// second of each lookup, and the addresses that were sent with their second.
    async fn run(first: Addresses, answers: &[Option<Addresses>]) -> (Vec<u64>, Vec<(u64, Addresses)>) {
        let answers: Vec<_> = answers.iter().map(|answer| answer.clone().map(|answer| (answer, 0))).collect();
        run_as(EVERY_30_S, first, &answers).await
    }

    /// Does the same as `resolve` says, with results that state their lifetime in seconds.
    async fn run_as(
        resolve: Resolve,
        first: Addresses,
        answers: &[Option<(Addresses, u64)>],
    ) -> (Vec<u64>, Vec<(u64, Addresses)>) {
        let began = Instant::now();
        let (sender, mut receiver) = watch::channel(first);
        let (answers, lookups) =
            (RefCell::new(answers.iter().cloned().collect::<VecDeque<_>>()), RefCell::default());
        let lookup = async |_known| {
            let answer = answers.borrow_mut().pop_front();
            let Some(answer) = answer else { return std::future::pending().await };
            Vec::push(&mut lookups.borrow_mut(), began.elapsed().as_secs());
            let found = answer.map(|(addresses, ttl)| Resolved { addresses, ttl: Duration::from_secs(ttl) });
            found.ok_or_else(|| ResolveError::Empty { host: "api".to_owned() })
        };
        let mut sent = Vec::new();
        let watching = async {
            while receiver.changed().await.is_ok() {
                sent.push((began.elapsed().as_secs(), receiver.borrow_and_update().clone()));
            }
        };
        tokio::select! {
            () = repeat("api", resolve, lookup, &sender, |_next| ()) => {}
            () = watching => {}
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
        (lookups.take(), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_sent_and_an_equal_set_is_not() {
        let (one, two) = (addresses(&["10.0.0.1:80"]), addresses(&["10.0.0.2:80", "10.0.0.1:80"]));
        let same_as_two = addresses(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80"]);
        let answers = [Some(one.clone()), Some(one.clone()), Some(two.clone()), Some(same_as_two)];
        let (lookups, sent) = run(addresses(&[]), &answers).await;
        assert_eq!(lookups, [0, 30, 60, 90]);
        assert_eq!(sent, [(0, one), (60, two)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_the_addresses_and_is_tried_again_ever_more_slowly() {
        let (old, new) = (addresses(&["10.0.0.1:80"]), addresses(&["10.0.0.2:80"]));
        let mut answers = vec![None; 7];
        answers.extend([Some(new.clone()), None, Some(new.clone())]);
        let (lookups, sent) = run(old, &answers).await;
        assert_eq!(lookups, [0, 1, 3, 7, 15, 31, 61, 91, 121, 122]);
        assert_eq!(sent, [(91, new)]);
    }

    #[tokio::test(start_paused = true)]
    async fn resolving_ends_with_the_last_receiver() {
        let (sender, receiver) = watch::channel(addresses(&[]));
        let found = Resolved { addresses: addresses(&["127.0.0.1:80"]), ttl: Duration::MAX };
        let resolving = tokio::spawn(async move {
            let lookup = |_known| std::future::ready(Ok(found.clone()));
            keep_resolved("api", Resolve::Auto, lookup, &sender, |_next| ()).await;
        });
        let mut watching = receiver.clone();
        watching.changed().await.unwrap();
        assert_eq!(*watching.borrow(), addresses(&["127.0.0.1:80"]));
        drop((receiver, watching));
        resolving.await.unwrap();
    }

    #[test]
    fn warnings_are_a_minute_apart_within_a_series() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let warned = [0, 1, 59, 60, 61].map(|seconds| failures.add(at(seconds)));
        assert_eq!(warned, [true, false, false, true, false]);
        assert!(failures.end());
        assert!(!failures.end());
        assert!(failures.add(at(62)), "a new series");
    }

    #[test]
    fn failures_without_known_addresses_are_logged_once_in_a_series() {
        let start = Instant::now();
        let logged = |kept: usize| {
            let mut failures = Failures::default();
            let logged = [0, 1, 60, 3600].map(|at| failures.is_news(start + Duration::from_secs(at), kept));
            failures.end();
            (logged, failures.is_news(start + Duration::from_secs(3601), kept))
        };
        assert_eq!(logged(0), ([true, false, false, false], true));
        assert_eq!(logged(2), ([true, false, true, true], true));
    }

    #[tokio::test(start_paused = true)]
    async fn auto_follows_the_lifetime_of_records_between_a_second_and_five_minutes() {
        let one = addresses(&["10.0.0.1:80"]);
        let answers = [0, 20, 86_400, 20].map(|ttl| Some((one.clone(), ttl)));
        let (lookups, _) = run_as(Resolve::Auto, addresses(&[]), &answers).await;
        let pauses: Vec<u64> = lookups.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let [first, second, third] = pauses[..] else { panic!("{pauses:?}") };
        assert!((1..=2).contains(&first) && (20..=22).contains(&second), "{pauses:?}");
        assert!((270..=300).contains(&third), "{pauses:?}");
    }

    #[test]
    fn pauses_of_auto_are_spread_and_never_beyond_their_bounds() {
        for (ttl, least, most) in [(0, 1000, 1100), (100, 100_000, 110_000), (290, 270_000, 300_000)] {
            let pauses = (0..200).map(|_| pause_after(Resolve::Auto, Duration::from_secs(ttl)).as_millis());
            let pauses: Vec<u128> = pauses.collect();
            assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{ttl} s: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{ttl} s");
        }
        assert!(pause_after(Resolve::Auto, Duration::MAX) <= TTL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_auto_are_retried_within_30_seconds() {
        let (lookups, _) = run_as(Resolve::Auto, addresses(&["10.0.0.1:80"]), &vec![None; 8]).await;
        assert_eq!(lookups, [0, 1, 3, 7, 15, 31, 61, 91]);
    }

    #[test]
    fn addresses_without_a_route_are_left_out_unless_all_are() {
        let found = || ["10.0.0.1:80", "[2001:db8::1]:80"].map(address).to_vec();
        let kept = |has_route: fn(&SocketAddr) -> bool| -> Vec<String> {
            routed(found(), has_route).iter().map(|kept| kept.socket.to_string()).collect()
        };
        assert_eq!(kept(|_| true), ["10.0.0.1:80", "[2001:db8::1]:80"]);
        assert_eq!(kept(SocketAddr::is_ipv4), ["10.0.0.1:80"]);
        assert_eq!(kept(SocketAddr::is_ipv6), ["[2001:db8::1]:80"]);
        assert_eq!(kept(|_| false), ["10.0.0.1:80", "[2001:db8::1]:80"]);
    }

    #[test]
    fn a_route_is_where_the_machine_can_send_to() {
        assert!(has_route(&"127.0.0.1:9".parse().unwrap()));
        // A refusal for another reason (here: broadcast) does not mean that there is no route.
        assert!(has_route(&"255.255.255.255:9".parse().unwrap()));
        let ipv6 = UdpSocket::bind("[::1]:0").is_ok();
        assert_eq!(has_route(&"[::1]:9".parse().unwrap()), ipv6);
    }
}
