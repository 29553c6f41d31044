//! Metrics that a plugin defines.

use wasmtime::{Caller, Linker};

use crate::filter::proxy_wasm::abi::{Answer, MetricKind, Status, answer};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{read, write_u32, write_u64};

/// The longest name of a metric.
const NAME_BYTES_MAX: usize = 256;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut caller: Caller<'_, Host>, kind: u32, name: u32, name_size: u32, at: u32| {
            answer(define(&mut caller, kind, (name, name_size), at))
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |caller: Caller<'_, Host>, metric: u32, by: i64| {
        answer(metric_of(caller.data(), metric, |metric| metric.increment(by)))
    })?;
    linker.func_wrap("env", "proxy_record_metric", |caller: Caller<'_, Host>, metric: u32, value: u64| {
        answer(metric_of(caller.data(), metric, |metric| metric.record(value)))
    })?;
    linker.func_wrap("env", "proxy_get_metric", |mut caller: Caller<'_, Host>, metric: u32, at: u32| {
        let value =
            find(caller.data(), metric).and_then(|metric| Ok(metric.value().ok_or(Status::BadArgument)?));
        answer(value.and_then(|value| write_u64(&mut caller, at, value)))
    })?;
    Ok(())
}

fn define(caller: &mut Caller<'_, Host>, kind: u32, name: (u32, u32), at: u32) -> Answer {
    let kind = MetricKind::from_number(kind).ok_or(Status::BadArgument)?;
    let name = read(caller, name.0, name.1, NAME_BYTES_MAX)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    write_u32(caller, at, 0)?;
    let host = caller.data_mut();
    let metric = host.plugin.metrics.define(kind, &name).ok_or(Status::InternalFailure)?;
    let known = host.metrics.iter().position(|known| std::sync::Arc::ptr_eq(known, &metric));
    let position = known.unwrap_or_else(|| {
        host.metrics.push(metric);
        host.metrics.len() - 1
    });
    // Numbers begin at 1, so that a guest that forgets to define a metric gets an error.
    write_u32(caller, at, u32::try_from(position + 1).unwrap_or(u32::MAX))
}

fn find(host: &Host, metric: u32) -> Answer<&crate::filter::proxy_wasm::plugin_metrics::PluginMetric> {
    let position = usize::try_from(metric).unwrap_or(usize::MAX).checked_sub(1);
    let metric = position.and_then(|position| host.metrics.get(position));
    Ok(metric.map(|metric| &**metric).ok_or(Status::NotFound)?)
}

fn metric_of(
    host: &Host,
    metric: u32,
    change: impl FnOnce(&crate::filter::proxy_wasm::plugin_metrics::PluginMetric) -> bool,
) -> Answer {
    if change(find(host, metric)?) { Ok(()) } else { Err(Status::BadArgument.into()) }
}
