//! Code for tests, fuzzing and measuring only. No release build contains it.

#[cfg(any(test, fuzzing))]
pub(crate) mod pieces;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
