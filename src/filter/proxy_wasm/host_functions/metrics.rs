//! Metrics that a plugin defines.

use std::sync::Arc;

use crate::filter::proxy_wasm::abi::{Answer, MetricKind, Status};
use crate::filter::proxy_wasm::host::Host;
use crate::filter::proxy_wasm::memory::{At, Guest, Slice};
use crate::filter::proxy_wasm::plugin_metrics::PluginMetric;

/// The longest name of a metric.
const NAME_BYTES_MAX: usize = 256;

pub(super) fn define(caller: &mut Guest<'_>, kind: MetricKind, name: Slice, metric_at: At<u32>) -> Answer {
    let name = name.copied(caller, NAME_BYTES_MAX)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    metric_at.write(caller, 0)?;
    let host = caller.data_mut();
    let metric = host.plugin.metrics.define(kind, &name).ok_or(Status::InternalFailure)?;
    let known = host.metrics.iter().position(|known| Arc::ptr_eq(known, &metric));
    let position = known.unwrap_or_else(|| {
        host.metrics.push(metric);
        host.metrics.len() - 1
    });
    // Numbers begin at 1, so that a guest that forgets to define a metric gets an error.
    metric_at.write_length(caller, position + 1)
}

pub(super) fn increment(caller: &mut Guest<'_>, metric: u32, by: i64) -> Answer {
    changed(find(caller.data(), metric)?.increment(by))
}

pub(super) fn record(caller: &mut Guest<'_>, metric: u32, value: u64) -> Answer {
    changed(find(caller.data(), metric)?.record(value))
}

pub(super) fn value_of(caller: &mut Guest<'_>, metric: u32, value_at: At<u64>) -> Answer {
    let value = find(caller.data(), metric)?.value().ok_or(Status::BadArgument)?;
    value_at.write(caller, value)
}

fn find(host: &Host, metric: u32) -> Answer<&PluginMetric> {
    let position = usize::try_from(metric).unwrap_or(usize::MAX).checked_sub(1);
    let metric = position.and_then(|position| host.metrics.get(position));
    Ok(metric.map(|metric| &**metric).ok_or(Status::NotFound)?)
}

fn changed(is_changed: bool) -> Answer {
    if is_changed { Ok(()) } else { Err(Status::BadArgument.into()) }
}
