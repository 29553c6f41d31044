//! The captured output of a process, line by line, while the test continues.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// The lines of one output stream so far. A separate thread reads them, so a test that blocks its runtime never fills
/// the pipe and stalls the process.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    lines: Arc<Mutex<Vec<String>>>,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    lines: usize,
    ended: bool,
}

impl Captured {
    pub(crate) fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, progress) = watch::channel(Progress::default());
        let captured = Self { lines: Arc::clone(&lines), progress };
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                lines.lock().unwrap().push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                line.clear();
                sender.send_modify(|progress| progress.lines += 1);
            }
            sender.send_modify(|progress| progress.ended = true);
        });
        captured
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the first line from number `from` on that `wanted` accepts. Returns `None` if the stream ends without
    /// it.
    pub(crate) async fn find(&self, from: usize, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut progress = self.progress.clone();
        let mut next = from;
        loop {
            let seen = *progress.borrow_and_update();
            {
                let lines = self.lines.lock().unwrap();
                let found = lines.iter().skip(next).find(|line| wanted(line));
                if found.is_some() {
                    return found.cloned();
                }
                next = next.max(lines.len());
            }
            if seen.ended || progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Waits until the stream has ended.
    pub(crate) async fn ended(&self) {
        let mut progress = self.progress.clone();
        // An error means that the reading thread is gone, so the stream has ended as well.
        drop(progress.wait_for(|progress| progress.ended).await);
    }
}
