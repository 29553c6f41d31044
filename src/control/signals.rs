//! The signals of the process. `docs/operation.md` lists them in a table.

use std::io;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The time in which further signals to stop are echoes of the first. timeout(1) signals its child and then its process group; a
/// terminal signals the group, and a wrapper passes it on.
const ECHO: Duration = Duration::from_millis(50);

/// The handlers of all signals that mean something to the gateway.
///
/// Without a handler each of them ends the process, so they are installed first. A signal that arrives during the start
/// waits until the process is ready for it.
pub(crate) struct Signals {
    pub(crate) stop: StopSignals,
    /// Reloads the configuration.
    pub(crate) hangup: Signal,
    pub(crate) operator: OperatorSignals,
}

/// The signals that stop the process. All of them drain: none ends a request that could finish.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// The signals that change nothing about what is served.
pub(crate) struct OperatorSignals {
    user1: Signal,
    user2: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperatorSignal {
    /// SIGUSR1: reopen the logs.
    ReopenLogs,
    /// SIGUSR2, which has no meaning yet.
    Reserved,
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn install() -> io::Result<Self> {
        // A log file that has reached its size limit (RLIMIT_FSIZE) fails to be written, but does not end the process.
        // A handler stays installed even without a listener.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
            },
            hangup: signal(SignalKind::hangup())?,
            operator: OperatorSignals {
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            },
        })
    }
}

impl StopSignals {
    /// Waits for the first signal and returns its name. Signals that follow within [`ECHO`] count as the same one.
    pub(crate) async fn first(&mut self) -> &'static str {
        let name = self.next().await;
        tokio::time::sleep(ECHO).await;
        for _ in 0..3 {
            self.forget_arrived().await;
        }
        name
    }

    /// Waits for the next signal and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }

    /// Drops a signal that has arrived. There can be one of each kind.
    async fn forget_arrived(&mut self) {
        let arrived = async { _ = self.next().await };
        tokio::select! {
            biased;
            () = arrived => {}
            () = std::future::ready(()) => {}
        }
    }
}

impl OperatorSignals {
    pub(crate) async fn next(&mut self) -> OperatorSignal {
        tokio::select! {
            _ = self.user1.recv() => OperatorSignal::ReopenLogs,
            _ = self.user2.recv() => OperatorSignal::Reserved,
        }
    }
}

/// Logs each SIGHUP from the call on: a stopping process reads no configuration. The future never ends.
pub(crate) fn refuse_hangups() -> impl Future<Output = ()> {
    let hangup = signal(SignalKind::hangup());
    async {
        if let Ok(mut hangup) = hangup {
            while hangup.recv().await.is_some() {
                tracing::info!(
                    "SIGHUP: the configuration is not read again, because the gateway is stopping"
                );
            }
        }
        std::future::pending().await
    }
}
