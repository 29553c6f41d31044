//! Command line arguments.

/// Counts the instructions of the request path and compares them with the recorded counts
#[derive(clap::Parser)]
pub(crate) struct Arguments {
    /// Count only measures with this text in their name
    only: Option<String>,

    /// Record the present counts, for this compiler
    #[arg(long, conflicts_with = "only")]
    pub(crate) bless: bool,

    /// Perform one measure. This is what callgrind runs
    #[arg(long, value_name = "MEASURE", conflicts_with_all = ["only", "bless"])]
    pub(crate) perform: Option<String>,
}

impl Arguments {
    /// Returns true if a measure should be counted.
    pub(crate) fn wants(&self, measure: &str) -> bool {
        self.only.as_ref().is_none_or(|only| measure.contains(only.as_str()))
    }
}
