//! Accounting for the bytes that a guest produces, for the current exchange or for its root context.

use std::rc::Rc;

use super::Host;
use crate::filter::proxy_wasm::abi::{Answer, Failure, Status};
use crate::filter::proxy_wasm::calls::{Held, Holder};
use crate::filter::proxy_wasm::log::{CUT_OFF, LINE_BYTES, LINE_BYTES_MAX, Level, Sink, escaped};
use crate::filter::{Fault, Part};

impl Host {
    /// Accounts for bytes that the guest produces and that the gateway holds from now on.
    ///
    /// # Errors
    /// Fails if they exceed `limits.output`. This ends the exchange; a root context gets the status.
    pub(in crate::filter::proxy_wasm) fn makes(&self, made: usize) -> Answer {
        let fits = match self.filter_context() {
            Some(filter_context) => filter_context.makes(made, self.shared.get()),
            None => self.root_makes(made),
        };
        if fits { Ok(()) } else { Err(self.makes_too_much()) }
    }

    fn root_makes(&self, made: usize) -> bool {
        let total = self.made.get().saturating_add(made);
        let fits = total.saturating_add(self.shared.get()) <= self.plugin.settings.output_bytes_max;
        if fits {
            self.made.set(total);
        }
        fits
    }

    /// Accounts for bytes that the guest produces in a part of its exchange, which holds `held` bytes including the new
    /// ones.
    ///
    /// # Errors
    /// Fails as [`Host::makes`] does, or if there is no exchange.
    pub(in crate::filter::proxy_wasm) fn makes_in(&self, part: Part, made: usize, held: usize) -> Answer {
        let filter_context = self.filter_context().ok_or(Status::BadArgument)?;
        if filter_context.makes_in(part, made, held, self.shared.get()) {
            Ok(())
        } else {
            Err(self.makes_too_much())
        }
    }

    /// Accounts for the bytes of a call for as long as the returned value lives.
    pub(in crate::filter::proxy_wasm) fn holds(&self, bytes: usize) -> Answer<Held> {
        self.makes(bytes)?;
        let by = match self.filter_context() {
            Some(filter_context) => Holder::FilterContext(Rc::downgrade(filter_context)),
            None => Holder::Root(self.made.clone()),
        };
        Ok(Held { bytes, by })
    }

    /// Accounts for bytes that the guest shares. Another limit applies for as long as they are shared; this one bounds
    /// what one callback produces.
    pub(in crate::filter::proxy_wasm) fn shares(&self, bytes: usize) -> Answer {
        self.makes(bytes)?;
        self.unmakes(bytes);
        self.shared.set(self.shared.get().saturating_add(bytes));
        Ok(())
    }

    /// Accounts for bytes that are no longer shared, or never were.
    pub(in crate::filter::proxy_wasm) fn unshares(&self, bytes: usize) {
        self.shared.set(self.shared.get().saturating_sub(bytes));
    }

    fn unmakes(&self, bytes: usize) {
        match self.filter_context() {
            Some(filter_context) => filter_context.frees(bytes),
            None => self.made.set(self.made.get().saturating_sub(bytes)),
        }
    }

    /// Returns the bytes that the running callback has shared.
    pub(in crate::filter::proxy_wasm) fn shared_bytes(&self) -> usize {
        self.shared.get()
    }

    /// Ends the exchange because the guest produces more than it may.
    pub(in crate::filter::proxy_wasm) fn makes_too_much(&self) -> Failure {
        let bytes_max = self.plugin.settings.output_bytes_max;
        let what = format!("it produced more than `limits.output`, {bytes_max} bytes, at one time");
        self.refuse(Fault::Output, &what);
        Status::InternalFailure.into()
    }

    /// Writes a line of the guest to its sink.
    pub(in crate::filter::proxy_wasm) fn write_log(&self, level: Level, text: &[u8]) {
        let left = self.log_bytes().get();
        if left == 0 || (matches!(self.log, Sink::Log) && !level.is_written()) {
            return;
        }
        let cut = text.get(..text.len().min(LINE_BYTES_MAX)).unwrap_or_default();
        let text_bytes = text.len();
        let text = escaped(&String::from_utf8_lossy(cut));
        let left = left.saturating_sub(text.len().max(text_bytes).saturating_add(LINE_BYTES));
        self.log_bytes().set(left);
        if let Some(journal) = self.log.journal() {
            journal.line(level.name(), text);
            if left == 0 {
                journal.note(CUT_OFF);
            }
            return;
        }
        self.plugin.stats.log().keep_line(level.name(), &text);
        let filter = &*self.plugin.settings.name;
        match level {
            Level::Trace => tracing::trace!(filter, "{text}"),
            Level::Debug => tracing::debug!(filter, "{text}"),
            Level::Info => tracing::info!(filter, "{text}"),
            Level::Warn => tracing::warn!(filter, "{text}"),
            Level::Error => tracing::error!(filter, "{text}"),
        }
        if left == 0 {
            tracing::warn!(filter, "{CUT_OFF}");
        }
    }
}
