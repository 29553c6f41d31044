//! The counts that are recorded in the repository.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/counts.yaml");

/// The comment at the top of the file.
const ABOUT: &str = "\
# Instructions of each measure, and by how many per cent they may differ. Written by `bash scripts/instructions.sh --bless`,
# which leaves the tolerances as they are: those are set by hand.
";

/// The tolerance of a new measure, in per cent.
const TOLERANCE: f64 = 1.0;

/// The tolerance for code of another compiler, in per cent: the count then includes differences in the compiler's work.
const TOLERANCE_OF_COMPILERS: f64 = 10.0;

/// The recorded counts, and the compiler and architecture that they belong to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// The compiler's version.
    rustc: String,
    architecture: String,
    counts: BTreeMap<String, Count>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// The instructions of one round.
    pub(crate) instructions: u64,
    /// The tolerance in per cent, in both directions.
    pub(crate) tolerance: f64,
}

/// The basis for comparing the recorded counts.
pub(crate) enum Footing {
    /// The same compiler.
    Same,
    /// Another compiler, with this version.
    OtherCompiler(String),
}

impl Kept {
    /// Reads the recorded counts.
    ///
    /// # Errors
    /// Returns an error if the file is missing or malformed.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string(FILE).context(FILE)?;
        serde_yaml::from_str(&text).context(FILE)
    }

    /// Returns true if the counts are from another architecture and cannot be compared.
    pub(crate) fn is_foreign(&self) -> bool {
        self.architecture != ARCH
    }

    /// Returns the basis for comparison.
    ///
    /// # Errors
    /// Returns an error if the compiler's version is not available.
    pub(crate) fn footing(&self) -> anyhow::Result<Footing> {
        let rustc = compiler()?;
        Ok(if self.rustc == rustc { Footing::Same } else { Footing::OtherCompiler(rustc) })
    }

    /// Returns the recorded count of a measure, with the tolerance for this footing.
    pub(crate) fn count(&self, measure: &str, footing: &Footing) -> Option<Count> {
        let count = *self.counts.get(measure)?;
        Some(match footing {
            Footing::OtherCompiler(_) => {
                Count { tolerance: count.tolerance.max(TOLERANCE_OF_COMPILERS), ..count }
            }
            Footing::Same => count,
        })
    }

    /// Returns the version of the compiler that they belong to.
    pub(crate) fn rustc(&self) -> &str {
        &self.rustc
    }

    /// Records these counts instead, by name and instructions.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written or the compiler's version is not available.
    pub(crate) fn bless(&self, measured: &[(&str, u64)]) -> anyhow::Result<()> {
        let mut text = format!("{ABOUT}rustc: {}\narchitecture: {ARCH}\ncounts:\n", compiler()?);
        for (measure, instructions) in measured {
            let tolerance = self.counts.get(*measure).map_or(TOLERANCE, |count| count.tolerance);
            let name = format!("{measure}:");
            writeln!(text, "  {name:34}{{ instructions: {instructions:7}, tolerance: {tolerance} }}")?;
        }
        fs::write(FILE, text).context(FILE)
    }
}

/// Returns the version of the compiler, which is assumed to have built this program.
fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc")?;
    ensure!(output.status.success(), "rustc does not report its version");
    let version = String::from_utf8(output.stdout)?;
    Ok(version.trim().trim_start_matches("rustc ").to_owned())
}
