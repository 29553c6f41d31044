//! `balance`: the choice of an endpoint for a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The choice of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// The better of two that are drawn by weight: the one whose requests under way and response times promise the earlier
    /// response.
    #[default]
    P2c,
    /// One endpoint after the other, by weight.
    RoundRobin,
    /// The one with the fewest requests under way, by weight.
    LeastRequest,
    /// Any, by weight.
    Random,
    /// The same one for the same value of `hash_on`. If an endpoint goes, only its own values move.
    Hash,
}
