//! Resolution of endpoint names to socket addresses, on the control plane: no request ever waits for DNS.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::upstream::{Addresses, literal};

/// The time limit of a lookup.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The limit of concurrent lookups, each of which is a thread.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// The pause after the first failure; each further one doubles it, up to the interval of lookups.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The time between two warnings while lookups keep failing.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The reason why a name has no addresses.
#[derive(Debug, Error)]
pub(crate) enum ResolveError {
    #[error("cannot resolve `{host}`: {}", reason(source))]
    Failed { host: String, source: io::Error },
    /// The resolver did not answer within [`LOOKUP_TIMEOUT`].
    #[error("cannot resolve `{host}`: no answer within {} s", LOOKUP_TIMEOUT.as_secs())]
    TimedOut { host: String },
    /// The name exists and has no address.
    #[error("cannot resolve `{host}`: the name has no address")]
    Empty { host: String },
}

/// Returns the resolver's error without the words that the standard library puts in front.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    reason.to_owned()
}

/// Resolves a name with the system's resolver (`/etc/hosts` and DNS). Returns those of its addresses that this machine
/// has a route to, or all if it has a route to none. An IP address, with or without brackets, resolves to itself.
///
/// # Errors
/// Returns an error if there is no address within [`LOOKUP_TIMEOUT`].
pub(crate) async fn resolve_once(host: &str, port: u16) -> Result<Addresses, ResolveError> {
    if let Some(ip) = literal(host) {
        return Ok(Arc::new([SocketAddr::new(ip, port)]));
    }
    // The wait for other lookups does not count. The semaphore is never closed.
    let _turn = LOOKUPS.acquire().await;
    let found = match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => routed(found.collect(), has_route),
        Ok(Err(source)) => return Err(ResolveError::Failed { host: host.to_owned(), source }),
        Err(_elapsed) => return Err(ResolveError::TimedOut { host: host.to_owned() }),
    };
    set(found).ok_or_else(|| ResolveError::Empty { host: host.to_owned() })
}

/// Returns the addresses that have a route, or all if none has: the network may not be up yet.
fn routed(addresses: Vec<SocketAddr>, has_route: impl Fn(&SocketAddr) -> bool) -> Vec<SocketAddr> {
    let routed: Vec<SocketAddr> = addresses.iter().copied().filter(has_route).collect();
    if routed.is_empty() { addresses } else { routed }
}

/// Returns true if this machine has a route to an address: on a machine with IPv4 only, a dual-stack name must not send
/// every other request where it cannot arrive. Connecting a UDP socket looks up the route and sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let from: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A machine without the address family cannot bind. Without free descriptors it cannot either, and then all
    // addresses are kept.
    let Ok(socket) = UdpSocket::bind((from, 0)) else { return false };
    let refused = socket.connect(address).err().map(|error| error.kind());
    !matches!(
        refused,
        Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable)
    )
}

fn set(mut addresses: Vec<SocketAddr>) -> Option<Addresses> {
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { None } else { Some(addresses.into()) }
}

/// Resolves `host` at once and then every `interval`, and sends its addresses when they have changed. Ends when no
/// receiver is left.
///
/// The channel starts with the known addresses: an empty set, or those from before a reload. A failure keeps the last
/// good ones, however old, because a result that was right a minute ago is better than none. Failures are logged at
/// WARN, the first at once. A name that was never resolved is logged once, at INFO: the failures of its requests report
/// the rest. Failed lookups are retried after a second, then two, four … up to `interval`.
pub(crate) async fn keep_resolved(
    host: String,
    port: u16,
    interval: Duration,
    addresses: watch::Sender<Addresses>,
) {
    let lookup = || resolve_once(&host, port);
    tokio::select! {
        () = addresses.closed() => {}
        () = repeat(&host, interval, lookup, &addresses) => {}
    }
}

/// Repeats a lookup like [`keep_resolved`], but never ends.
async fn repeat<F, Fut>(host: &str, interval: Duration, lookup: F, addresses: &watch::Sender<Addresses>)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Addresses, ResolveError>>,
{
    let mut failures = Failures::default();
    loop {
        let pause = match lookup().await {
            Ok(found) => {
                let had_failed = failures.end();
                if !publish(host, found, had_failed, addresses) && had_failed {
                    tracing::info!(host, "`{host}` can be resolved again; its addresses are the same");
                }
                interval
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
                failures.pause().min(interval)
            }
        };
        tokio::time::sleep(pause).await;
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

    const INTERVAL: Duration = Duration::from_secs(30);

    fn addresses(list: &[&str]) -> Addresses {
        set(list.iter().map(|address| address.parse().unwrap()).collect()).unwrap_or_default()
    }

    /// Runs `repeat` under paused time with these results, `None` for a failure, and then nothing more. Returns the
    /// second of each lookup, and the addresses that were sent with their second.
    async fn run(first: Addresses, answers: &[Option<Addresses>]) -> (Vec<u64>, Vec<(u64, Addresses)>) {
        let began = Instant::now();
        let (sender, mut receiver) = watch::channel(first);
        let (answers, lookups) =
            (RefCell::new(answers.iter().cloned().collect::<VecDeque<_>>()), RefCell::default());
        let lookup = async || {
            let answer = answers.borrow_mut().pop_front();
            let Some(answer) = answer else { return std::future::pending().await };
            Vec::push(&mut lookups.borrow_mut(), began.elapsed().as_secs());
            answer.ok_or_else(|| ResolveError::Empty { host: "api".to_owned() })
        };
        let mut sent = Vec::new();
        let watching = async {
            while receiver.changed().await.is_ok() {
                sent.push((began.elapsed().as_secs(), receiver.borrow_and_update().clone()));
            }
        };
        tokio::select! {
            () = repeat("api", INTERVAL, lookup, &sender) => {}
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
        let resolving = tokio::spawn(keep_resolved("127.0.0.1".to_owned(), 80, INTERVAL, sender));
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

    #[tokio::test]
    async fn an_ip_address_is_itself() {
        assert_eq!(resolve_once("[::1]", 80).await.unwrap(), addresses(&["[::1]:80"]));
        assert_eq!(resolve_once("::1", 80).await.unwrap(), addresses(&["[::1]:80"]));
        assert_eq!(resolve_once("127.0.0.1", 80).await.unwrap(), addresses(&["127.0.0.1:80"]));
    }

    #[tokio::test]
    async fn localhost_is_looked_up() {
        let found = resolve_once("localhost", 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_an_error_that_names_it() {
        // The name is reserved and never exists (RFC 6761 §6.4).
        let error = resolve_once("nowhere.invalid", 80).await.unwrap_err();
        assert!(error.to_string().contains("`nowhere.invalid`"), "{error}");
    }

    #[test]
    fn addresses_without_a_route_are_left_out_unless_all_are() {
        let found = || -> Vec<SocketAddr> {
            ["10.0.0.1:80", "[2001:db8::1]:80"].iter().map(|address| address.parse().unwrap()).collect()
        };
        let kept = |has_route: fn(&SocketAddr) -> bool| -> Vec<String> {
            routed(found(), has_route).iter().map(ToString::to_string).collect()
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
