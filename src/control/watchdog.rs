//! The watchdog: signs of life for the service manager, as long as no serving thread is stuck.

use std::future;

use tokio::time::{MissedTickBehavior, interval};

use crate::control::service_manager::ServiceManager;
use crate::control::workers::Pulse;

/// Sends a sign of life in each interval of the manager, after every worker has executed a command. It runs on the
/// control thread. If that thread or a worker is stuck, the signs cease, and the manager restarts the process. Never
/// ends.
pub(crate) async fn watch(manager: &ServiceManager, pulse: Pulse) {
    let Some(every) = manager.watchdog_interval().filter(|every| !every.is_zero()) else {
        return future::pending().await;
    };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        pulse.beat().await;
        manager.alive();
    }
}
