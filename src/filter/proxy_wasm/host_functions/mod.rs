//! The host side of the proxy-wasm ABI: what module `env` offers, by topic.

mod buffers;
mod calls;
mod maps;
mod metrics;
mod misc;
mod properties;
mod shared;
mod stream;

pub(super) use maps::pairs_in;
use wasmtime::Linker;

use super::host::Host;

/// Links every function of the ABI, whether or not a module calls it: SDKs import what their users may need.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    misc::link(linker)?;
    buffers::link(linker)?;
    maps::link(linker)?;
    properties::link(linker)?;
    stream::link(linker)?;
    calls::link(linker)?;
    shared::link(linker)?;
    metrics::link(linker)
}
