//! The host side of the proxy-wasm ABI: the functions of module `env`, by topic.

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

/// Links every function of the ABI, even those that a module does not call: SDKs import everything that their users may
/// need.
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
