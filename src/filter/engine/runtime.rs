//! The engine that compiles and runs modules, and the clock by which it ends calls that take too long.

use std::sync::OnceLock;
use std::time::Duration;

use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// How often a guest that runs is looked at. What it may take beyond its limit is at most two of these.
pub(crate) const EPOCH: Duration = Duration::from_millis(5);

/// Stack of a guest: a fourth of what a worker's thread has.
const STACK_BYTES: usize = 512 * 1024;

/// Instances of `isolation: request` that may be at work at once, in the whole process.
const POOLED_INSTANCES: u32 = 4000;

/// Of a pooled instance's memory, what stays resident between two requests: more is given back to the system.
const POOLED_KEEP_RESIDENT: usize = 128 * 1024;

/// The largest memory of a pooled instance: its address space is set aside beforehand.
const POOLED_MEMORY_MAX: usize = 1 << 32;

/// The most that the engine itself has of a pooled instance. It is allocated by need: this only bounds it.
const POOLED_CORE_BYTES_MAX: usize = 16 << 20;

/// The largest table of a pooled instance: a module in Go of 25 MiB has some 40,000 functions. Its address space is set aside
/// beforehand, 3 GiB for all of them.
const POOLED_TABLE_ELEMENTS_MAX: usize = 50_000;

/// Which way instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Allocation {
    /// Each its own, for as long as a worker has it.
    OnDemand,
    /// From a pool, for one request.
    Pooled,
}

/// An engine for each way; there when it is first needed.
#[derive(Default)]
pub(crate) struct Engines {
    on_demand: OnceLock<Engine>,
    pooled: OnceLock<Engine>,
}

impl Engines {
    /// # Errors
    /// The machine cannot run compiled modules, or has no address space for a pool.
    pub(crate) fn of(&self, allocation: Allocation) -> wasmtime::Result<&Engine> {
        let slot = match allocation {
            Allocation::OnDemand => &self.on_demand,
            Allocation::Pooled => &self.pooled,
        };
        if let Some(engine) = slot.get() {
            return Ok(engine);
        }
        let engine = Engine::new(&config(allocation))?;
        // First, as without it nothing would end a call; that of an engine which nobody takes ends with it.
        run_clock(&engine)?;
        Ok(slot.get_or_init(|| engine))
    }
}

pub(crate) fn config(allocation: Allocation) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .memory_init_cow(true)
        // No callback awaits, and each store is cheaper without what that would take.
        .concurrency_support(false);
    if allocation == Allocation::Pooled {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(POOLED_INSTANCES)
            .total_memories(POOLED_INSTANCES)
            .total_tables(POOLED_INSTANCES * 2)
            .max_memory_size(POOLED_MEMORY_MAX)
            .linear_memory_keep_resident(POOLED_KEEP_RESIDENT)
            .table_elements(POOLED_TABLE_ELEMENTS_MAX)
            // What the engine itself has of an instance grows with its functions; the default is too little for large modules.
            .max_core_instance_size(POOLED_CORE_BYTES_MAX)
            .table_keep_resident(POOLED_KEEP_RESIDENT);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Counts epochs as long as anybody has the engine.
fn run_clock(engine: &Engine) -> wasmtime::Result<()> {
    let engine: EngineWeak = engine.weak();
    let tick = move || {
        loop {
            // Nobody unparks it; to wake too early would do no harm.
            std::thread::park_timeout(EPOCH);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    };
    std::thread::Builder::new().name("filter-clock".to_owned()).spawn(tick)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    #[test]
    fn code_of_one_engine_runs_in_the_other() {
        let engines = Engines::default();
        let hash = |allocation| {
            let mut hasher = DefaultHasher::new();
            engines.of(allocation).unwrap().precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(Allocation::OnDemand), hash(Allocation::Pooled));
    }
}
