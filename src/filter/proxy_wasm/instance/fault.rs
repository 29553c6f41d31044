//! Classification and description of what went wrong in a guest.

use std::fmt::Write as _;

use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::config::ByteSize;
use crate::filter::Fault;
use crate::filter::proxy_wasm::host::{CONTEXT_CREATE, Cause, Host};
use crate::filter::proxy_wasm::log::escaped;

/// The most lines of a backtrace that are shown. A frame takes two lines if its source line is known.
const BACKTRACE_LINES: usize = 40;

/// Returns the kind of fault that an error is.
pub(super) fn fault_of(error: &Error, host: &Host) -> Fault {
    match (host.cause, error.downcast_ref::<Trap>()) {
        _ if error.is::<PoolConcurrencyLimitError>() => Fault::Instances,
        (Some(Cause::Time), _) | (_, Some(Trap::Interrupt)) => Fault::Time,
        (_, Some(Trap::StackOverflow)) => Fault::Stack,
        // Allocators trap when no memory is left.
        _ if host.limit.refused.is_some() => Fault::Memory,
        _ => Fault::Trap,
    }
}

/// Describes an error and the guest's stack, with source lines if the module has debug information.
pub(super) fn describe(error: &Error, host: &Host) -> String {
    let settings = &host.plugin.settings;
    let mut text = match (host.cause, error.downcast_ref::<Trap>()) {
        (Some(Cause::Time), _) => {
            let key = if host.is_starting { "limits.start" } else { "limits.time" };
            format!("it took more than `{key}`, {:?} of CPU time", host.time.max)
        }
        (Some(Cause::Exit(code)), _) => format!("it exited with code {code}"),
        (None, Some(trap)) => trap.to_string(),
        (None, None) => message_of(error),
    };
    if let Some(desired) = host.limit.refused {
        let [desired, max] =
            [desired, settings.memory_bytes_max].map(|bytes| ByteSize::from_bytes(bytes as u64));
        let _infallible =
            write!(text, " (it requested {desired} of memory, more than `limits.memory`, {max})");
    }
    if host.callback == CONTEXT_CREATE && !host.creates_context() {
        // SDKs that find their root context by name abort without a message if the name is unknown.
        text.push_str(" (if it registers its root context under a name, `root_id` must be that name)");
    }
    if host.creates_context() {
        // Some SDKs abort if a kind of context is missing, without any other indication.
        text.push_str(" (it was given the context of an exchange: a plugin that has only a root context cannot be a filter)");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        for line in backtrace.to_string().lines().take(BACKTRACE_LINES) {
            let _infallible = write!(text, "\n{}", escaped(line));
        }
    }
    text
}

/// Returns the host's message. For an error in a call this is only its root cause, as the rest is the backtrace.
fn message_of(error: &Error) -> String {
    let is_in_call = error.downcast_ref::<WasmBacktrace>().is_some();
    escaped(&if is_in_call { error.root_cause().to_string() } else { format!("{error:#}") })
}

/// Counts a fault, keeps it as the last one, and logs it at a limited rate.
pub(super) fn report(host: &Host, fault: Fault, error: &Error) {
    let (plugin, callback) = (&host.plugin, host.callback);
    plugin.stats.failed(fault.name());
    // The engine has resolved the names of the functions by now, so this only formats them.
    let what = describe(error, host);
    if let Some(journal) = host.log.journal() {
        journal.fault(fault, format!("in {callback}: {what}"));
        return;
    }
    plugin.stats.log().keep_failure(fault.name(), &format!("in `{callback}`: {what}"));
    if let Some(suppressed) = plugin.warned.passes(fault.name()) {
        let (filter, reason) = (&*plugin.settings.name, fault.name());
        // Repeat the fields in the text: a backtrace would separate them from it.
        tracing::error!(
            filter,
            callback,
            reason,
            suppressed,
            "filter `{filter}` failed in `{callback}`: {what}"
        );
    }
}
