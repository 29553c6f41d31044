//! Advice: which setting holds requests back, and the value that would not have.
//!
//! Each rule is a pure function from the last minutes of a pool to a sentence. The value that it names is compared with the present one,
//! so that advice ends when it is followed, although the minutes before are still known.

mod rules;
mod subject;
mod words;

use schemars::JsonSchema;
use serde::Serialize;

use self::subject::{Found, Subject, Urgency};
use crate::config::PoolSettings;
use crate::control::history::PoolWindow;
use crate::observe::metrics::PoolReport;

/// A setting that would have served requests better with another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Advice {
    pub(crate) pool: String,
    pub(crate) endpoint: String,
    pub(crate) address: String,
    /// The routes that use the pool.
    pub(crate) routes: Vec<String>,
    /// The key: `pool.max_connections`. Some advice is about no key.
    pub(crate) setting: Option<&'static str>,
    /// Its value now.
    pub(crate) value: Option<String>,
    /// The value that would have sufficed.
    pub(crate) suffices: Option<String>,
    /// One sentence with the evidence.
    pub(crate) text: String,
    #[serde(skip)]
    urgency: Urgency,
}

/// Returns the advice about a pool.
pub(crate) fn of_pool(report: &PoolReport, window: &PoolWindow, settings: &PoolSettings) -> Vec<Advice> {
    let subject = Subject { report, window, settings };
    let found = rules::ALL.iter().filter_map(|rule| rule(subject));
    found
        .map(|Found { urgency, setting, value, suffices, text }| Advice {
            pool: report.pool.clone(),
            endpoint: report.endpoint.clone(),
            address: report.address.clone(),
            routes: report.routes.clone(),
            setting,
            value,
            suffices,
            text,
            urgency,
        })
        .collect()
}

/// Sorts advice by the harm that is done.
pub(crate) fn sort(advice: &mut [Advice]) {
    advice.sort_by_key(|one| one.urgency);
}
