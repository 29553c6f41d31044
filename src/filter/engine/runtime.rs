//! The engine that compiles and runs modules, and the clock that interrupts calls that take too long.

use std::sync::OnceLock;
use std::time::Duration;

use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

/// The interval at which a running guest is checked. A guest exceeds its limit by at most two intervals.
pub(crate) const EPOCH: Duration = Duration::from_millis(5);

/// The stack of a guest: a quarter of the stack of a worker's thread.
const STACK_BYTES: usize = 512 * 1024;

/// The most instances of `isolation: request` at work at once, in the whole process.
const POOLED_INSTANCES: u32 = 4000;

/// The part of a pooled instance's memory that stays resident between two requests. The rest is returned to the system.
const POOLED_KEEP_RESIDENT: usize = 128 * 1024;

/// The largest memory of a pooled instance. Its address space is reserved beforehand.
const POOLED_MEMORY_MAX: usize = 1 << 32;

/// The most memory that the engine itself needs for a pooled instance. It is allocated on demand; this is only a bound.
const POOLED_CORE_BYTES_MAX: usize = 16 << 20;

/// The largest table of a pooled instance. A module in Go of 25 MiB has some 40,000 functions. The address space is
/// reserved beforehand, 3 GiB for all tables.
const POOLED_TABLE_ELEMENTS_MAX: usize = 50_000;

/// The strategy by which instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Allocation {
    /// Each instance allocates its own memory and keeps it for as long as a worker uses the instance.
    OnDemand,
    /// Instances take memory from a pool for one request.
    Pooled,
}

/// One engine for each strategy, created on first use.
#[derive(Default)]
pub(crate) struct Engines {
    on_demand: OnceLock<Engine>,
    pooled: OnceLock<Engine>,
}

impl Engines {
    /// Returns the engine for a strategy.
    ///
    /// # Errors
    /// Fails if the machine cannot run compiled modules, or has no address space for a pool.
    pub(crate) fn of(&self, allocation: Allocation) -> wasmtime::Result<&Engine> {
        let slot = match allocation {
            Allocation::OnDemand => &self.on_demand,
            Allocation::Pooled => &self.pooled,
        };
        if let Some(engine) = slot.get() {
            return Ok(engine);
        }
        let engine = Engine::new(&config(allocation))?;
        // Start the clock first, because without it nothing would interrupt a call. The clock of an engine that loses
        // the race ends with that engine.
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
        // No callback is async, and each store is cheaper without support for it.
        .concurrency_support(false);
    if allocation == Allocation::Pooled {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(POOLED_INSTANCES)
            .total_memories(POOLED_INSTANCES)
            .total_tables(POOLED_INSTANCES * 2)
            .max_memory_size(POOLED_MEMORY_MAX)
            .linear_memory_keep_resident(POOLED_KEEP_RESIDENT)
            .table_elements(POOLED_TABLE_ELEMENTS_MAX)
            // The engine's own data for an instance grows with its functions; the default is too small for large
            // modules.
            .max_core_instance_size(POOLED_CORE_BYTES_MAX)
            .table_keep_resident(POOLED_KEEP_RESIDENT);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Advances the epoch for as long as the engine is in use.
fn run_clock(engine: &Engine) -> wasmtime::Result<()> {
    let engine: EngineWeak = engine.weak();
    let tick = move || {
        loop {
            // Nothing unparks this thread, and waking too early would do no harm.
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
