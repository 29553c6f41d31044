//! `gateway health`: asks a running gateway whether it is ready.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::{messages, output};
use crate::config;
use crate::control::admin::ready;
use crate::control::announce::reachable;

/// Ask a running gateway whether it is ready for new requests
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// The configuration file, for the address of the admin listener [default: gateway.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The admin listener: 127.0.0.1:9901 or http://127.0.0.1:9901 [default: `admin.address` of the file]
    #[arg(long, value_name = "ADDRESS|URL", conflicts_with = "config")]
    pub(crate) admin: Option<String>,

    /// The longest wait for the response: 500ms, 3s, 1m
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub(crate) timeout: config::Duration,
}

/// Prints one line: `ready` on standard output, or the reason on standard error. Returns 0 if the gateway is ready,
/// else 1.
pub(crate) fn run(args: &HealthArgs, file: &Path) -> ExitCode {
    let url = match &args.admin {
        Some(admin) if admin.contains("://") => Ok(admin.clone()),
        // The resolver takes a bare number for an IPv4 address.
        Some(admin) if admin.trim_start_matches(':').bytes().all(|byte| byte.is_ascii_digit()) => Err(
            format!("`--admin {admin}` is not an address: write HOST:PORT, such as `--admin 127.0.0.1:9901`"),
        ),
        Some(admin) => Ok(format!("http://{admin}")),
        None => configured(file),
    };
    let limit: Duration = args.timeout.into();
    match url.and_then(|url| ready(&url, limit).map_err(|error| error.to_string())) {
        Ok(word) => output::result(&word, &json!({})),
        Err(error) => {
            messages::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns the URL of the admin listener in a file.
fn configured(file: &Path) -> Result<String, String> {
    let name = config::display_name(file);
    let admin = config::load_admin(file).map_err(|errors| {
        let errors = errors.to_string();
        errors.strip_prefix("error: ").unwrap_or(&errors).to_owned()
    })?;
    let Some(admin) = admin else {
        return Err(format!(
            "{name} has no admin listener to ask; add `admin: {{ address: 127.0.0.1:9901 }}` or name one with `--admin`"
        ));
    };
    let address = reachable(admin.address.into());
    if address.port() == 0 {
        return Err(format!(
            "`admin.address` of {name} takes any free port; name the one in use with `--admin`"
        ));
    }
    Ok(format!("http://{address}"))
}
