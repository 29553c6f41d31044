//! The settings of a provider.

use std::path::PathBuf;
use std::time::Duration;

use super::hidden_text::HiddenText;
use crate::config::IssuerUrl;
use crate::config::load::files::FileMark;

/// The place of a provider, the gateway's own name there, and the times of requests to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderSource {
    pub(crate) issuer: IssuerUrl,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<HiddenText>,
    /// The file of the certificates that are trusted, with its content.
    pub(crate) ca: Option<(PathBuf, FileMark)>,
    /// The time limit of a request.
    pub(crate) timeout: Duration,
    /// The longest time until metadata and keys are fetched again.
    pub(crate) refresh: Duration,
    /// The difference of clocks that ID tokens may show.
    pub(crate) leeway: Duration,
}
