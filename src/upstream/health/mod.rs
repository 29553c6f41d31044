//! The health of endpoints, as requests see it.

mod active;
mod passive;
mod probed;
mod standing;
mod success_rate;
mod troubled;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

pub(in crate::upstream) use self::probed::Probed;
pub(in crate::upstream) use self::standing::Standing;
pub(in crate::upstream) use self::success_rate::SuccessCounts;
pub(in crate::upstream) use self::troubled::Troubled;
use crate::net::clock;

/// The first use of a clock in this process, from which the times of health count.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the time of the present event since the process began.
pub(in crate::upstream) fn now() -> Duration {
    let began = *BEGAN;
    clock::now().saturating_duration_since(began)
}
