//! The clock of a worker's event loop.
//!
//! All work of a worker between two events happens at one time. The system's clock is read at the first use after each event:
//! after the worker has woken, after a read that brought bytes, a connect and a deadline that has passed, and after a call of a
//! filter. A limit that counts from such an event therefore never ends early. One that counts from another, such as the end of a
//! response, may end early by the clock's error. A busy worker also reads the clock after every [`USES`] uses. Threads that are
//! not workers always get the true time.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// The number of uses after which the clock is read, whatever has happened. A use, with all that is done between two of them,
/// takes up to 0.1 ms.
const USES: u32 = 32;

thread_local! {
    /// The present time; `None` if this thread is no worker.
    static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The uses that are left until the system's clock is read.
    static USES_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Returns the time of the present event.
pub(crate) fn now() -> Instant {
    match (TIME.get(), USES_LEFT.get().checked_sub(1)) {
        (Some(time), Some(left)) => {
            USES_LEFT.set(left);
            time
        }
        (Some(_), None) => start(),
        (None, _) => Instant::now(),
    }
}

/// Returns the time that has passed since an earlier [`now`].
pub(crate) fn since(began: Instant) -> Duration {
    now().saturating_duration_since(began)
}

/// The time from which [`uptime`] counts: that of its first use in this process.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the time of the present event since the process began, for times that workers share as numbers.
pub(crate) fn uptime() -> Duration {
    let began = *BEGAN;
    now().saturating_duration_since(began)
}

/// Returns a duration in whole nanoseconds, of which a number has room for 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Makes this thread a worker's, with the present time of the system.
pub(crate) fn start() -> Instant {
    let now = Instant::now();
    TIME.set(Some(now));
    USES_LEFT.set(USES);
    now
}

/// Begins another event: the next use reads the system's clock.
pub(crate) fn advance() {
    USES_LEFT.set(0);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{spawn_local, yield_now};

    use super::*;
    use crate::net::event_loop;
    use crate::net::stream::Stream;

    /// The bound of the clock's error.
    const LAG_MAX: Duration = Duration::from_millis(10);

    /// The time for which a worker is kept busy.
    const BUSY: Duration = Duration::from_millis(100);

    fn work(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {}
    }

    /// Returns the CPU time of this thread. Other work on the machine does not add to it.
    fn cpu_time() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    }

    /// Runs a future as a worker does, on a thread of its own, because the clock stays with the thread.
    fn on_worker<F: Future>(future: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        let run = || event_loop::runtime().unwrap().block_on(future());
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    /// Keeps a worker busy with looks at the clock, so that it never sleeps. Returns the longest time, as the worker's own CPU
    /// time, for which the clock stood still.
    async fn saturate() -> Duration {
        let (began, mut read, mut time, mut worst) = (cpu_time(), cpu_time(), now(), Duration::ZERO);
        while cpu_time() - began < BUSY {
            let until = cpu_time() + Duration::from_micros(100);
            while cpu_time() < until {}
            worst = worst.max(cpu_time() - read);
            let before = cpu_time();
            if now() != time {
                (time, read) = (now(), before);
            }
        }
        worst
    }

    #[test]
    fn clock_of_a_saturated_worker_lags_by_less_than_10_ms() {
        let lag = on_worker(saturate);
        assert!(lag < LAG_MAX, "{lag:?}");
    }

    #[test]
    fn time_after_a_read_is_not_before_the_bytes_were_sent() {
        on_worker(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut stream = Stream::plain(listener.accept().await.unwrap().0);
            let busy = spawn_local(async {
                loop {
                    yield_now().await;
                }
            });
            for _ in 0..3 {
                now();
                work(Duration::from_millis(1));
                let sent = Instant::now();
                peer.write_all(b"a").await.unwrap();
                std::future::poll_fn(|cx| stream.poll_read_chunk(cx)).await.unwrap();
                assert!(now() >= sent);
            }
            busy.abort();
        });
    }

    #[test]
    fn clock_follows_paused_time() {
        let waited = on_worker(|| async {
            tokio::time::pause();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let began = now();
            tokio::time::sleep(Duration::from_secs(60)).await;
            since(began)
        });
        assert_eq!(waited.as_secs(), 60);
    }

    #[test]
    fn clock_is_true_on_other_threads() {
        let began = now();
        work(Duration::from_millis(2));
        assert!(since(began).as_millis() >= 2);
    }

    #[test]
    fn clock_is_true_after_long_work_that_advances_it() {
        let lag = on_worker(|| async {
            let began = now();
            work(2 * LAG_MAX);
            assert_eq!(since(began), Duration::ZERO);
            advance();
            since(began)
        });
        assert!(lag >= 2 * LAG_MAX);
    }
}
