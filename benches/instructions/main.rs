//! How many instructions the request path takes, held against the counts that are kept in `counts.yaml`.
//!
//! ```text
//! bash scripts/instructions.sh             # counts everything and compares
//! bash scripts/instructions.sh proxied     # what has that in its name
//! bash scripts/instructions.sh --bless     # keeps the counts as they are now
//! ```
//!
//! Times differ from run to run by more than what most changes cost; instructions do not. Each [measure](measures) is a
//! process of its own under valgrind's callgrind, which counts what happens within [`counted`] and nothing else: not the
//! building of the configuration, not the client and the upstream, which are played in the same thread. What would still
//! vary is fixed: the environment, when freed memory goes back to the system, and the router's hash seed.
//!
//! gungraun (once iai-callgrind) counts in the same way, but what it compares with is in `target/`, where a fresh clone has
//! nothing and no review sees it, its limits are in the source, and it needs a second program of the very same version.

mod arguments;
mod callgrind;
mod kept;
mod measures;
mod report;

use std::process::ExitCode;

use anyhow::ensure;
use arguments::Arguments;
use clap::Parser as _;
use kept::Kept;
use measures::MEASURES;
use report::Report;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Does something of which the instructions count. callgrind knows it by its name.
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
    ensure!(MEASURES.iter().any(|(name, _)| arguments.wants(name)), "no measure is called that");
    if kept.is_foreign() && !arguments.bless {
        report::nothing_to_compare();
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(&kept)?;
    for (name, _) in MEASURES.iter().filter(|(name, _)| arguments.wants(name)) {
        report.add(name, callgrind::instructions(name)?);
    }
    if arguments.bless {
        kept.bless(report.counts())?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(report.verdict())
}
