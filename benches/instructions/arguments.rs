//! What may be asked for.

/// Counts the instructions of the request path and compares them with those that are kept.
#[derive(clap::Parser)]
pub(crate) struct Arguments {
    /// Count only what has this in its name.
    only: Option<String>,

    /// Keep the counts as they are now, for this compiler.
    #[arg(long, conflicts_with = "only")]
    pub(crate) bless: bool,

    /// Do what a measure is about: this is what callgrind runs.
    #[arg(long, value_name = "MEASURE", conflicts_with_all = ["only", "bless"])]
    pub(crate) perform: Option<String>,
}

impl Arguments {
    /// Whether a measure is to be counted.
    pub(crate) fn wants(&self, measure: &str) -> bool {
        self.only.as_ref().is_none_or(|only| measure.contains(only.as_str()))
    }
}
