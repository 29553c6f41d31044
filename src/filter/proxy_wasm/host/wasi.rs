//! The WASI state of an instance.

use std::collections::BTreeMap;
use std::time::Instant;

/// The environment, the output and the clock of one instance.
pub(in crate::filter::proxy_wasm) struct Wasi {
    /// Entries of the form `NAME=value`, each with its terminating NUL.
    pub(in crate::filter::proxy_wasm) environment: Vec<Vec<u8>>,
    pub(in crate::filter::proxy_wasm) lines: [Vec<u8>; 2],
    pub(in crate::filter::proxy_wasm) began: Instant,
}

impl Wasi {
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        let entry = |(name, value): (&String, &String)| format!("{name}={value}\0").into_bytes();
        Self {
            environment: environment.iter().map(entry).collect(),
            lines: Default::default(),
            began: Instant::now(),
        }
    }
}
