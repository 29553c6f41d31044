//! `gateway hash-key`: makes an entry for a file of API keys.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use aws_lc_rs::rand;

use super::messages;
use super::output;
use crate::policy::auth::hash_key;

/// The most bytes of a key that is read.
const KEY_BYTES_MAX: u64 = 4096;

/// Makes the entry of a caller for a file of API keys (`auth`, `api_key`), with a new key or with one from standard input.
///
/// The entry goes to standard output; it has only a digest of the key. A new key is shown once, on standard error.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HashKeyArgs {
    /// The name of the caller.
    #[arg(long, value_name = "NAME")]
    id: String,
    /// Read the key from standard input instead of making one.
    #[arg(long)]
    stdin: bool,
}

/// Prints the entry.
pub(crate) fn run(args: &HashKeyArgs) -> ExitCode {
    if args.id.is_empty() {
        messages::error("the caller has no name: write `--id NAME`");
        return ExitCode::FAILURE;
    }
    let key = if args.stdin { given() } else { fresh() };
    let key = match key {
        Ok(key) => key,
        Err(error) => {
            messages::error(&error);
            return ExitCode::FAILURE;
        }
    };
    if !args.stdin {
        messages::text(&format!("The key, which is not shown again: {key}\n"));
    }
    // JSON strings are YAML.
    let id = serde_json::Value::from(args.id.as_str());
    output::print_to_end(&format!("- id: {id}\n  key: {}\n", hash_key(key.as_bytes())))
}

/// Returns a new key of 256 random bits.
fn fresh() -> Result<String, String> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads a key, without a line end.
fn given() -> Result<String, String> {
    if std::io::stdin().is_terminal() {
        messages::text("Write the key, and end it with Ctrl-D.\n");
    }
    let mut text = String::new();
    let read = std::io::stdin().take(KEY_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read standard input: {error}"))?;
    let key = text.trim_end_matches(['\r', '\n']);
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    match is_word && key.len() as u64 <= KEY_BYTES_MAX {
        true => Ok(key.to_owned()),
        false => Err("a key is one word of visible ASCII, 4096 characters at most".to_owned()),
    }
}
