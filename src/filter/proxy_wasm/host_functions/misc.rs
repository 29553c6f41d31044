//! Logging, time, ticks, foreign functions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::{Caller, Linker};

use crate::filter::proxy_wasm::abi::{Answer, Status, answer};
use crate::filter::proxy_wasm::host::{Effect, Host};
use crate::filter::proxy_wasm::log;
use crate::filter::proxy_wasm::memory::{give, slice, split, write_u32, write_u64};

/// The shortest interval between two ticks. A tick may take `limits.time`, and a worker has requests to serve.
const TICK_MIN: Duration = Duration::from_millis(10);

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut caller: Caller<'_, Host>, level: u32, text: u32, size: u32| {
            answer(write_log(&mut caller, level, text, size))
        },
    )?;
    linker.func_wrap("env", "proxy_get_log_level", |mut caller: Caller<'_, Host>, at: u32| {
        answer({
            let lowest = log::Level::lowest(&caller.data().log);
            write_u32(&mut caller, at, lowest)
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut caller: Caller<'_, Host>, at: u32| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            answer(write_u64(&mut caller, at, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut caller: Caller<'_, Host>, millis: u32| {
            let period = (millis > 0).then(|| Duration::from_millis(millis.into()).max(TICK_MIN));
            caller.data_mut().leave(Effect::Tick(period));
            Status::Ok as i32
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut caller: Caller<'_, Host>,
         name: u32,
         name_size: u32,
         data: u32,
         size: u32,
         at: u32,
         size_at: u32| {
            answer(call_foreign(&mut caller, (name, name_size), (data, size), (at, size_at)))
        },
    )?;
    // ABI 0.1.0.
    linker.func_wrap("env", "proxy_clear_route_cache", |caller: Caller<'_, Host>| {
        clear_route(caller.data());
        Status::Ok as i32
    })?;
    // C and C++ toolchains also import these.
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_: u32| {})?;
    linker.func_wrap("env", "pthread_equal", |left: u32, right: u32| i32::from(left == right))?;
    Ok(())
}

fn write_log(caller: &mut Caller<'_, Host>, level: u32, text: u32, size: u32) -> Answer {
    let level = log::Level::from_number(level).ok_or(Status::BadArgument)?;
    let (memory, host) = split(caller)?;
    let text = slice(memory, text, size)?;
    log::write(host, level, text);
    Ok(())
}

fn clear_route(host: &Host) {
    if let Some(member) = host.member() {
        member.exchange.clear_route();
    }
}

fn call_foreign(
    caller: &mut Caller<'_, Host>,
    (name, name_size): (u32, u32),
    (data, size): (u32, u32),
    (at, size_at): (u32, u32),
) -> Answer {
    let (memory, host) = split(caller)?;
    slice(memory, data, size)?;
    let level;
    let result: &[u8] = match slice(memory, name, name_size)? {
        b"clear_route_cache" => {
            clear_route(host);
            &[]
        }
        // A function of ABI 0.2.100. It returns the number that `proxy_get_log_level` writes, as four bytes, little
        // endian.
        b"get_log_level" => {
            level = log::Level::lowest(&host.log).to_le_bytes();
            &level
        }
        _ => return Err(Status::NotFound.into()),
    };
    // Guests may pass null if they expect no result.
    if at != 0 && size_at != 0 { give(caller, result, at, size_at) } else { Ok(()) }
}
