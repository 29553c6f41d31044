//! What went wrong in a guest, for the counts and for people.

use std::fmt::Write as _;

use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::config::ByteSize;
use crate::filter::Fault;
use crate::filter::proxy_wasm::host::{CONTEXT_CREATE, Cause, Host};
use crate::filter::proxy_wasm::log::escaped;

/// Lines of a backtrace that are shown: two a frame where lines of the source are known.
const BACKTRACE_LINES: usize = 40;

/// The kind of fault that an error is.
pub(super) fn fault_of(error: &Error, host: &Host) -> Fault {
    match (host.cause, error.downcast_ref::<Trap>()) {
        _ if error.is::<PoolConcurrencyLimitError>() => Fault::Instances,
        (Some(Cause::Time), _) | (_, Some(Trap::Interrupt)) => Fault::Time,
        (_, Some(Trap::StackOverflow)) => Fault::Stack,
        // Allocators trap where there is nothing left to give.
        _ if host.limit.refused.is_some() => Fault::Memory,
        _ => Fault::Trap,
    }
}

/// What happened, and the functions of the guest that it happened in, with lines where the module has debug information.
pub(super) fn describe(error: &Error, host: &Host) -> String {
    let settings = &host.plugin.settings;
    let mut text = match (host.cause, error.downcast_ref::<Trap>()) {
        (Some(Cause::Time), _) => {
            let key = if host.is_starting { "limits.start" } else { "limits.time" };
            format!("it took more than `{key}`, {:?} of CPU time", host.time_max)
        }
        (Some(Cause::Exit(code)), _) => format!("it exited with code {code}"),
        (None, Some(trap)) => trap.to_string(),
        (None, None) => said_of(error),
    };
    if let Some(desired) = host.limit.refused {
        let [desired, max] =
            [desired, settings.memory_bytes_max].map(|bytes| ByteSize::from_bytes(bytes as u64));
        let _infallible =
            write!(text, " (it asked for {desired} of memory, more than `limits.memory`, {max})");
    }
    if host.callback == CONTEXT_CREATE && !host.creates_context() {
        // SDKs that look their root context up by its name abort without a word where they do not find it.
        text.push_str(" (if it registers its root context under a name, `root_id` must be that name)");
    }
    if host.creates_context() {
        // Some SDKs abort for want of a kind of context: no other sign of it comes out of them.
        text.push_str(" (it was given the context of an exchange: a plugin that has only a root context can be no filter)");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        for line in backtrace.to_string().lines().take(BACKTRACE_LINES) {
            let _infallible = write!(text, "\n{}", escaped(line));
        }
    }
    text
}

/// What the host says of it: of an error in a call, only what brought it about, for the rest is the backtrace.
fn said_of(error: &Error) -> String {
    let is_in_call = error.downcast_ref::<WasmBacktrace>().is_some();
    escaped(&if is_in_call { error.root_cause().to_string() } else { format!("{error:#}") })
}

/// Counts a fault, and tells the log of it now and then.
pub(super) fn tell(host: &Host, fault: Fault, error: &Error) {
    let (plugin, callback) = (&host.plugin, host.callback);
    plugin.stats.failed(fault.name());
    if let Some(journal) = host.log.journal() {
        journal.fault(fault, format!("in {callback}: {}", describe(error, host)));
    } else if let Some(suppressed) = plugin.warned.passes(fault.name()) {
        // Only now: to find the names of functions takes longer than most requests.
        let what = describe(error, host);
        let (filter, reason) = (&*plugin.settings.name, fault.name());
        // In the text as well: a backtrace moves the fields far away from it.
        tracing::error!(
            filter,
            callback,
            reason,
            suppressed,
            "filter `{filter}` failed in `{callback}`: {what}"
        );
    }
}
