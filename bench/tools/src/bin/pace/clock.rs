//! Waits that end in time.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel's: tokio's own counts milliseconds, which is as much as a request takes.
pub struct Clock {
    timer: AsyncFd<OwnedFd>,
}

impl Clock {
    pub fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: an OwnedFd is the same open descriptor for as long as it lives.
        #[allow(unsafe_code, reason = "tokio has no other way to wait for a descriptor")]
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE)? };
        Ok(Self { timer })
    }

    /// Returns at once where the time has passed.
    pub async fn wait_until(&mut self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() },
            };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            let mut expirations = [0; 8];
            self.timer
                .async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut expirations)?))
                .await?;
        }
    }
}
