//! Counts the instructions of the request path and compares them with the recorded ones in `counts.yaml`.
//!
//! ```text
//! bash scripts/instructions.sh             # counts everything and compares
//! bash scripts/instructions.sh proxied     # measures with that in their name
//! bash scripts/instructions.sh --bless     # records the present counts
//! ```
//!
//! Most measures are one poll of one task. [Exchanges](exchanges) run the tasks of a worker, because those of HTTP/2 are several.
//!
//! Times differ from run to run by more than most changes cost; instructions do not. Each [measure](measures) is a
//! process of its own under valgrind's callgrind, which counts only the instructions within [`counted`]. It does not
//! count building the configuration, nor the client and the upstream, which run in the same thread. Other sources of
//! variation are fixed: the environment, the time at which freed memory returns to the system, and the router's hash
//! seed.
//!
//! gungraun (once iai-callgrind) counts in the same way. But its baseline is in `target/`, so a fresh clone has none
//! and no review sees it; its limits are in the source; and it needs a second program of exactly the same version.

mod arguments;
mod callgrind;
mod exchanges;
mod kept;
mod measures;
mod report;

use std::process::ExitCode;

use anyhow::ensure;
use arguments::Arguments;
use clap::Parser as _;
use kept::Kept;
use report::Report;

/// The same allocator as in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the work that is counted. callgrind finds this function by its name.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.perform {
        measures::perform(name)?;
        return Ok(ExitCode::SUCCESS);
    }
    let kept = Kept::read()?;
    ensure!(measures::names().any(|name| arguments.wants(name)), "no measure is called that");
    if kept.is_foreign() && !arguments.bless {
        report::nothing_to_compare();
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(&kept)?;
    for name in measures::names().filter(|name| arguments.wants(name)) {
        report.add(name, callgrind::instructions(name)?);
    }
    if arguments.bless {
        kept.bless(report.counts())?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(report.verdict())
}
