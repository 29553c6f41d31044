//! The use that the process makes of the machine, under the names that Prometheus' own clients have for it.

use std::fmt;
use std::fs;

use super::Page;

/// The kernel's unit of CPU time, which Linux fixes for programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// The numbers of the process as the kernel shows them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_files: u64,
    open_files_max: u64,
}

impl Usage {
    /// Reads the numbers; `None` where there is no `/proc`.
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (ticks, pages) = of_stat(&stat)?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Some(Self {
            cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
            resident_bytes: pages * rustix::param::page_size() as u64,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            open_files_max: limit.current.unwrap_or(u64::MAX),
        })
    }

    pub(super) fn encode(self, page: &mut Page<'_>) -> fmt::Result {
        page.float_counter_of_all(
            "process_cpu_seconds",
            "CPU time of the process, in seconds",
            self.cpu_seconds,
        )?;
        page.gauge_of_all(
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM",
            &self.resident_bytes,
        )?;
        page.gauge_of_all("process_open_fds", "Open files and sockets", &self.open_files)?;
        page.gauge_of_all("process_max_fds", "The limit of open files and sockets", &self.open_files_max)
    }
}

/// Returns CPU time in ticks, and resident pages, of `/proc/self/stat` (proc(5)). The name of the program, in parentheses, may contain
/// anything.
fn of_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first one here is the third of the file.
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_proc_whatever_the_program_is_called() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 70 30 13 14 15 16 17 18 19 20 512 22";
        for name in ["gateway", "a) S 9 9", "a b"] {
            assert_eq!(of_stat(&format!("7 ({name}) {rest}")), Some((100, 512)), "{name}");
        }
        assert_eq!(of_stat("7 (a) S 1"), None);
    }

    #[test]
    fn process_uses_memory_and_files() {
        let usage = Usage::read().unwrap();
        assert!(usage.resident_bytes > 1 << 20 && usage.open_files >= 3, "{usage:?}");
        assert!(usage.open_files_max >= usage.open_files, "{usage:?}");
    }
}
