//! The work of a store's thread: it connects, decides as long as the store responds, and connects again.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[cfg(not(feature = "redis"))]
use super::absent::Connection;
use super::batches::{Batches, Order};
use super::command::Granted;
#[cfg(feature = "redis")]
use super::redis::Connection;
use super::settings::{CONNECT_MAX, StoreSettings};
use crate::policy::{Charge, StoreBackend, StoreKey, StoreState};

/// The commands that may be under way at once.
const UNDER_WAY_MAX: usize = 1024;

/// The requests that may wait for a command. Further ones stay in the channel, which is bounded, too.
const WAITING_MAX: usize = 16_384;

/// The charges that are taken from the channel at once.
const TAKEN_MAX: usize = 256;

/// The pause after the second failure in a row, and the longest one. Each further failure doubles it. After the first there is none: a
/// store that was slow once is soon back.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The time after which a store that responds counts as sound, so that its next failure is the first one again.
const SOUND_AFTER: Duration = Duration::from_secs(10);

/// The part of a pause by which it is shortened at random, so that gateways do not connect at the same time.
const SPREAD: f64 = 0.2;

/// The end of the decisions.
enum End {
    /// Nothing has the store any more.
    Unused,
    /// The store does not respond; the reason, and the key of the command that has failed.
    Lost(String, StoreKey),
}

/// Serves a store until nothing has it any more. `ended` is notified of the end of the first attempt to connect.
pub(super) async fn serve(settings: StoreSettings, backend: StoreBackend, ended: oneshot::Sender<()>) {
    let (mut charges, state) = (backend.charges, backend.state);
    let mut ended = Some(ended);
    let (mut failures, mut is_reported, mut probe) = (0, false, StoreKey::default());
    let (name, url) = (settings.name.as_str(), settings.written.url.to_string());
    loop {
        let Some(connected) = refusing(&mut charges, connect(&settings, probe)).await else { return };
        let reason = match connected {
            Ok(connections) => {
                state.set_up();
                tracing::info!(store = name, url, "the store of rate limits responds");
                notify(&mut ended);
                is_reported = false;
                let began = Instant::now();
                let end = decide(&settings, &connections, &mut charges, &state).await;
                state.set_lost();
                if began.elapsed() >= SOUND_AFTER {
                    failures = 0;
                }
                match end {
                    End::Unused => return,
                    End::Lost(reason, key) => {
                        probe = key;
                        reason
                    }
                }
            }
            Err(reason) => reason,
        };
        if !std::mem::replace(&mut is_reported, true) {
            tracing::warn!(
                store = name,
                url,
                "the store of rate limits does not respond: {reason}; `on_error` decides until it does"
            );
        }
        notify(&mut ended);
        let pause = pause(failures);
        failures += 1;
        if refusing(&mut charges, tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn notify(ended: &mut Option<oneshot::Sender<()>>) {
    if let Some(ended) = ended.take() {
        // A reload may have been given up.
        let _gone = ended.send(());
    }
}

/// Returns the pause after so many failures in a row before.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let pause = RETRY_FIRST.saturating_mul(1 << doublings.min(8)).min(RETRY_MAX);
    pause.mul_f64(1.0 - SPREAD * fastrand::f64())
}

/// Runs work while no decision can be made: requests that come meanwhile do without the store. Returns `None` if nothing has the store
/// any more.
async fn refusing<T>(charges: &mut mpsc::Receiver<Charge>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return Some(result),
            charge = charges.recv() => drop(charge?),
        }
    }
}

/// Opens the connections and sees that commands work, for a key next to `probe`: a cluster may lack the server of only some keys, and a
/// server may be without the right to write.
async fn connect(settings: &StoreSettings, probe: StoreKey) -> Result<Vec<Connection>, String> {
    let opening = async {
        let connections = Connection::open(settings).await?;
        let limit = settings.written.timeout.into();
        for connection in &connections {
            // The first one also loads the script.
            connection.probe(probe).await?;
            timeout(limit, connection.probe(probe)).await.unwrap_or_else(|_elapsed| Err(late(limit)))?;
        }
        Ok(connections)
    };
    let opened = timeout(CONNECT_MAX, opening).await;
    opened.unwrap_or_else(|_elapsed| Err(format!("no connection within {CONNECT_MAX:?}")))
}

/// Makes decisions until a command fails.
async fn decide(
    settings: &StoreSettings,
    connections: &[Connection],
    charges: &mut mpsc::Receiver<Charge>,
    state: &StoreState,
) -> End {
    // Dropping these on the way out fails all that wait.
    let (mut batches, mut under_way) = (Batches::default(), JoinSet::new());
    let mut taken = Vec::with_capacity(TAKEN_MAX);
    loop {
        while under_way.len() < UNDER_WAY_MAX
            && let Some(order) = batches.next()
        {
            let first_byte = usize::from(order.command.key.0[0]);
            let Some(connection) = connections.get(first_byte % connections.len().max(1)) else { break };
            state.count_command();
            under_way.spawn(run(order, settings.written.timeout.into(), connection.share()));
        }
        let has_room = batches.waiting() < WAITING_MAX;
        tokio::select! {
            biased;
            Some(ended) = under_way.join_next() => {
                let Ok((order, result)) = ended else {
                    return End::Lost("internal error: a command panicked".to_owned(), StoreKey::default());
                };
                batches.end(&order.command);
                match result {
                    Ok(granted) => order.reply(granted),
                    Err(reason) => return End::Lost(reason, order.command.key),
                }
            }
            count = charges.recv_many(&mut taken, TAKEN_MAX), if has_room => {
                if count == 0 {
                    return End::Unused;
                }
                taken.drain(..).for_each(|charge| batches.add(charge));
            }
        }
    }
}

async fn run(order: Order, limit: Duration, connection: Connection) -> (Order, Result<Granted, String>) {
    let result = timeout(limit, connection.run(order.command)).await;
    (order, result.unwrap_or_else(|_elapsed| Err(late(limit))))
}

fn late(limit: Duration) -> String {
    format!("no response within {limit:?}")
}
