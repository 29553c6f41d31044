//! The clock of a worker's event loop.
//!
//! A worker reads the system's clock when it wakes, and whatever it does until it sleeps happens at that time. A busy
//! worker does not sleep, so the clock is also renewed after every [`USES`] uses and reads, and after work that may take
//! milliseconds: calls of filters and TLS handshakes. A deadline may thus come early by the few milliseconds that the
//! clock lags behind. Threads that are not workers always get the true time.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// The number of uses and reads after which the time is renewed. A use takes microseconds, a read with all that follows
/// from it up to 0.1 ms.
const USES: u32 = 32;

thread_local! {
    /// The time of the present turn. `None` if this thread is no worker.
    static TIME: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The uses that are left until the time is renewed.
    static USES_LEFT: Cell<u32> = const { Cell::new(USES) };
}

/// Returns the time, which a busy worker may be some milliseconds behind.
pub(crate) fn now() -> Instant {
    count_use();
    TIME.get().unwrap_or_else(Instant::now)
}

/// Returns the time that has passed since an earlier [`now`].
pub(crate) fn since(began: Instant) -> Duration {
    now().saturating_duration_since(began)
}

/// Sets the clock of a worker that has just woken.
pub(crate) fn wake() {
    TIME.set(Some(Instant::now()));
    USES_LEFT.set(USES);
}

/// Sets the clock, if this thread is a worker, after work that may have taken long.
pub(crate) fn renew() {
    if TIME.get().is_some() {
        wake();
    }
}

/// Counts a step of a worker that may be too busy to sleep.
pub(crate) fn count_use() {
    match USES_LEFT.get().checked_sub(1) {
        Some(left) => USES_LEFT.set(left),
        None => renew(),
    }
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

    /// Keeps a worker busy with reads, or with looks at the clock, so that it never sleeps. Returns the longest time, as the
    /// worker's own CPU time, for which the clock stood still.
    async fn saturate(reads: bool) -> Duration {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = Stream::plain(listener.accept().await.unwrap().0);
        // The clock starts when the worker wakes.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let ready = spawn_local(async {
            loop {
                yield_now().await;
            }
        });
        let (began, mut renewed, mut time, mut worst) = (cpu_time(), cpu_time(), TIME.get(), Duration::ZERO);
        while cpu_time() - began < BUSY {
            let until = cpu_time() + Duration::from_micros(100);
            while cpu_time() < until {}
            if reads {
                peer.write_all(b"a").await.unwrap();
                std::future::poll_fn(|cx| stream.poll_read_chunk(cx)).await.unwrap();
            } else {
                now();
                yield_now().await;
            }
            worst = worst.max(cpu_time() - renewed);
            if TIME.get() != time {
                (time, renewed) = (TIME.get(), cpu_time());
            }
        }
        ready.abort();
        worst
    }

    #[test]
    fn clock_of_a_saturated_worker_lags_by_less_than_10_ms() {
        for reads in [false, true] {
            let lag = on_worker(|| saturate(reads));
            assert!(lag < LAG_MAX, "reads: {reads}, {lag:?}");
        }
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
    fn clock_is_true_after_long_work_that_renews_it() {
        let lag = on_worker(|| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let began = now();
            work(2 * LAG_MAX);
            renew();
            since(began)
        });
        assert!(lag >= 2 * LAG_MAX);
    }
}
