//! The counts that are kept in the repository.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/counts.yaml");

/// What stands at the top of the file.
const ABOUT: &str = "\
# Instructions of each measure, and by how many per cent they may differ. Written by `bash scripts/instructions.sh --bless`,
# which leaves the tolerances as they are: those are set by hand.
";

/// The tolerance of a measure that is new, in per cent.
const TOLERANCE: f64 = 1.0;

/// What is taken for the same where another compiler made the code, in per cent: it is its work that is counted then.
const TOLERANCE_OF_COMPILERS: f64 = 10.0;

/// The counts, and what they were counted of.
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
    /// Each time that it is done.
    pub(crate) instructions: u64,
    /// In per cent, either way.
    pub(crate) tolerance: f64,
}

/// How far the kept counts hold here.
pub(crate) enum Footing {
    /// The same compiler.
    Same,
    /// Another compiler, which has this version.
    OtherCompiler(String),
}

impl Kept {
    /// # Errors
    /// The file is not there or not as it should be.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string(FILE).context(FILE)?;
        serde_yaml::from_str(&text).context(FILE)
    }

    /// Whether they are of other instructions than those of this machine: then there is nothing to compare.
    pub(crate) fn is_foreign(&self) -> bool {
        self.architecture != ARCH
    }

    /// How they may be compared.
    ///
    /// # Errors
    /// No compiler can be asked for its version.
    pub(crate) fn footing(&self) -> anyhow::Result<Footing> {
        let rustc = compiler()?;
        Ok(if self.rustc == rustc { Footing::Same } else { Footing::OtherCompiler(rustc) })
    }

    /// The count that is kept of a measure, with the tolerance that holds on this footing.
    pub(crate) fn count(&self, measure: &str, footing: &Footing) -> Option<Count> {
        let count = *self.counts.get(measure)?;
        Some(match footing {
            Footing::OtherCompiler(_) => {
                Count { tolerance: count.tolerance.max(TOLERANCE_OF_COMPILERS), ..count }
            }
            Footing::Same => count,
        })
    }

    /// The compiler that they are of.
    pub(crate) fn rustc(&self) -> &str {
        &self.rustc
    }

    /// Keeps these counts instead, by name and instructions.
    ///
    /// # Errors
    /// The file cannot be written, or no compiler be asked for its version.
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

/// The version of the compiler, which is taken to be that of this program.
fn compiler() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc")?;
    ensure!(output.status.success(), "rustc does not tell its version");
    let version = String::from_utf8(output.stdout)?;
    Ok(version.trim().trim_start_matches("rustc ").to_owned())
}
