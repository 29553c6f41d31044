//! WebAssembly filters by the proxy-wasm ABI: their host.

#[expect(dead_code, reason = "the host comes with the next change")]
mod cache;
#[cfg_attr(not(test), expect(dead_code, reason = "the host comes with the next change"))]
mod shared;
