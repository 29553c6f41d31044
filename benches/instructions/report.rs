//! The report: counts beside the recorded ones, and advice about differences.
#![allow(clippy::print_stdout, reason = "the report goes to the terminal")]

use std::process::ExitCode;

use crate::kept::{Footing, Kept};

/// Prints that there is no report.
pub(crate) fn nothing_to_compare() {
    println!("The kept counts are of another architecture than this machine's: there is nothing to compare.");
}

pub(crate) struct Report<'k> {
    kept: &'k Kept,
    footing: Footing,
    counts: Vec<(&'static str, u64)>,
    /// The number of measures that exceed their tolerance.
    dearer: usize,
    /// The number of measures that need so much less that a regression could go unnoticed, or that have no recorded
    /// count.
    stale: usize,
}

impl<'k> Report<'k> {
    /// Prints the heading of the report.
    ///
    /// # Errors
    /// Returns an error if the recorded counts cannot be compared.
    pub(crate) fn new(kept: &'k Kept) -> anyhow::Result<Self> {
        let footing = kept.footing()?;
        println!(
            "{:32}{:>10}{:>10}{:>12}{:>11}",
            "instructions", "kept", "counted", "difference", "tolerance"
        );
        Ok(Self { kept, footing, counts: Vec::new(), dearer: 0, stale: 0 })
    }

    /// Adds a count and prints it.
    pub(crate) fn add(&mut self, measure: &'static str, instructions: u64) {
        self.counts.push((measure, instructions));
        let Some(kept) = self.kept.count(measure, &self.footing) else {
            self.stale += 1;
            println!("{measure:32}{:>10}{instructions:>10}{:>23}  NOT KEPT YET", "-", "");
            return;
        };
        let difference = (instructions as f64 / kept.instructions as f64 - 1.0) * 100.0;
        let word = match () {
            () if difference > kept.tolerance => "  DEARER",
            () if difference < -kept.tolerance => "  CHEAPER",
            () => "",
        };
        self.dearer += usize::from(difference > kept.tolerance);
        self.stale += usize::from(difference < -kept.tolerance);
        let (before, tolerance) = (kept.instructions, kept.tolerance);
        println!("{measure:32}{before:>10}{instructions:>10}{difference:>+10.2} %{tolerance:>9} %{word}");
    }

    /// Returns all counts.
    pub(crate) fn counts(&self) -> &[(&'static str, u64)] {
        &self.counts
    }

    /// Prints advice on any differences, and returns success if there are none.
    pub(crate) fn verdict(&self) -> ExitCode {
        if let Footing::OtherCompiler(rustc) = &self.footing {
            println!("\nThe kept counts are of rustc {}, these of {rustc}:", self.kept.rustc());
            println!("tolerances are wider, until the new one's counts are kept.");
        }
        if self.dearer > 0 {
            println!("\n{DEARER}");
        }
        if self.stale > 0 {
            println!("\n{STALE}");
        }
        if self.dearer + self.stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

const DEARER: &str = "\
DEARER: the request path does more than before. `callgrind_annotate` shows where, with the file of that measure's name in
target/instructions/callgrind, here and as it was before the change. Where the change is worth it, keep the new counts with it,
`bash scripts/instructions.sh --bless`, and say why in its message.";

const STALE: &str = "\
CHEAPER, NOT KEPT YET: what was won is lost again unnoticed unless the new counts are kept: `bash scripts/instructions.sh
--bless`, and commit benches/instructions/counts.yaml with the change.";
