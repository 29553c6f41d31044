//! Compiles a configuration beside the running one: a snapshot, and a plan of what to commit.

mod admin;
mod auth;
pub(crate) mod commit_plan;
mod forward_auth;
mod forwarding;
pub(crate) mod generation;
mod jwt;
pub(crate) mod listeners;
mod mirror;
mod oidc;
pub(crate) mod open_files;
mod policies;
pub(crate) mod previous;
pub(crate) mod problems;
mod secrets;
pub(crate) mod snapshot;
mod stores;
mod traces;
pub(crate) mod warnings;
