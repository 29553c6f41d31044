//! A running gateway, as commands find it: by its admin listener.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config;
use crate::control::admin::Client;
use crate::control::announce::reachable;

/// The admin listener of a running gateway.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// The configuration file, for the address of the admin listener [default: gateway.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The admin listener: 127.0.0.1:9901 or http://127.0.0.1:9901 [default: `admin.address` of the file]
    #[arg(long, value_name = "ADDRESS|URL", conflicts_with = "config")]
    pub(crate) admin: Option<String>,
}

/// A running gateway, and the token that it may need.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunningArgs {
    #[command(flatten)]
    pub(crate) at: AdminArgs,

    /// A file with the token of the admin listener [default: the variable GATEWAY_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Returns the URL of the admin listener: the one that is named, or the one in `file`.
    ///
    /// # Errors
    /// Returns a sentence if the address is none, or the file has none.
    pub(crate) fn url(&self, file: &Path) -> Result<String, String> {
        match &self.admin {
            Some(admin) if admin.contains("://") => Ok(admin.clone()),
            // The resolver takes a bare number for an IPv4 address.
            Some(admin) if admin.trim_start_matches(':').bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!(
                    "`--admin {admin}` is not an address: write HOST:PORT, such as `--admin 127.0.0.1:9901`"
                ))
            }
            Some(admin) => Ok(format!("http://{admin}")),
            None => configured(file),
        }
    }
}

impl RunningArgs {
    /// Returns a client of the running gateway.
    ///
    /// # Errors
    /// Returns a sentence if there is no address, or the token's file cannot be read.
    pub(crate) fn client(&self, file: &Path) -> Result<Client, String> {
        let url = self.at.url(file)?;
        let Some(path) = &self.token_file else { return Ok(Client::new(&url)) };
        let token = fs::read_to_string(path);
        let token =
            token.map_err(|error| format!("cannot read the token from {}: {error}", path.display()))?;
        Ok(Client::with_token(&url, token.trim()))
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
