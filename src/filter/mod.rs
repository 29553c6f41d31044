//! Filters: what they are given of a message, and what of it they may change.

#[cfg_attr(not(test), expect(dead_code, reason = "filters come with the next change"))]
mod coding;
