//! Logging, time, ticks, foreign functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::filter::proxy_wasm::abi::{Answer, Status};
use crate::filter::proxy_wasm::host::{Effect, Host};
use crate::filter::proxy_wasm::log::Level;
use crate::filter::proxy_wasm::memory::{At, Guest, Out, Slice, split};

/// The shortest interval between two ticks. A tick may take `limits.time`, and a worker has requests to serve.
const TICK_MIN: Duration = Duration::from_millis(10);

pub(super) fn write_log(caller: &mut Guest<'_>, level: Level, text: Slice) -> Answer {
    let (memory, host) = split(caller)?;
    host.write_log(level, text.of(memory)?);
    Ok(())
}

pub(super) fn log_level(caller: &mut Guest<'_>, at: At<u32>) -> Answer {
    let lowest = Level::lowest(&caller.data().log);
    at.write(caller, lowest)
}

pub(super) fn time(caller: &mut Guest<'_>, at: At<u64>) -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    at.write(caller, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn set_tick(caller: &mut Guest<'_>, millis: u32) -> Answer {
    let period = (millis > 0).then(|| Duration::from_millis(millis.into()).max(TICK_MIN));
    caller.data_mut().leave(Effect::Tick(period));
    Ok(())
}

pub(super) fn clear_route_cache(caller: &mut Guest<'_>) -> Answer {
    clear_route(caller.data());
    Ok(())
}

fn clear_route(host: &Host) {
    if let Some(context) = host.filter_context() {
        context.exchange.clear_route();
    }
}

pub(super) fn call_foreign(caller: &mut Guest<'_>, name: Slice, parameter: Slice, result_out: Out) -> Answer {
    let (memory, host) = split(caller)?;
    parameter.of(memory)?;
    let level;
    let result: &[u8] = match name.of(memory)? {
        b"clear_route_cache" => {
            clear_route(host);
            &[]
        }
        // A function of ABI 0.2.100. It returns the number that `proxy_get_log_level` writes, as four bytes, little
        // endian.
        b"get_log_level" => {
            level = Level::lowest(&host.log).to_le_bytes();
            &level
        }
        _ => return Err(Status::NotFound.into()),
    };
    // Guests may pass null if they expect no result.
    if result_out.is_null() { Ok(()) } else { result_out.give(caller, result) }
}
