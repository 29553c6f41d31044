//! `gateway schema`: prints the keys of a configuration, for editors and for people, and the schema of reports.

use std::process::ExitCode;

use super::{check, output};
use crate::config;

/// Prints the JSON Schema of the configuration, made from its types.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// The format to print.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: SchemaFormat,
}

/// The formats of `gateway schema`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SchemaFormat {
    /// The JSON Schema (2020-12), for completion in editors.
    #[default]
    Json,
    /// The reference of all keys.
    Markdown,
    /// The JSON Schema of the report of `gateway check --format json`.
    CheckReport,
}

/// Prints the schema on standard output.
pub(crate) fn run(args: &SchemaArgs) -> ExitCode {
    output::print_to_end(&text(args.format))
}

/// Returns the text of a format, which is also the content of its file in `docs/`.
fn text(format: SchemaFormat) -> String {
    match format {
        SchemaFormat::Json => format!("{:#}\n", config::json_schema()),
        SchemaFormat::Markdown => config::markdown(),
        SchemaFormat::CheckReport => format!("{:#}\n", check::report_schema()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{SchemaFormat, text};

    /// Returns true if a file in `docs/` equals the generated text. With `BLESS=1` it writes the file first.
    fn is_current(file: &str, format: SchemaFormat) -> bool {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
        let generated = text(format);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        fs::read_to_string(&path).is_ok_and(|written| written == generated)
    }

    #[test]
    fn the_schema_in_docs_is_current() {
        assert!(is_current("gateway.schema.json", SchemaFormat::Json), "run the tests with BLESS=1");
    }

    #[test]
    fn the_schema_of_reports_in_docs_is_current() {
        assert!(is_current("check.schema.json", SchemaFormat::CheckReport), "run the tests with BLESS=1");
    }

    #[test]
    fn the_reference_in_docs_is_current() {
        assert!(is_current("configuration.md", SchemaFormat::Markdown), "run the tests with BLESS=1");
    }
}
