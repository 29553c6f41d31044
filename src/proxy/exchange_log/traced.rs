//! The trace of an exchange: its waits, and the record that goes to the exporter.

use std::time::Duration;

use super::ExchangeLog;
use crate::filter::{FilterWork, Session};
use crate::http::grpc;
use crate::observe::traces::TraceId;
use crate::proxy::recording::Ending;
use crate::proxy::trace::Trace;

impl ExchangeLog {
    /// Returns the trace of the request, if it is known.
    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.line.as_ref()?.trace.as_ref().map(Trace::trace_id)
    }

    /// Returns true if the request is recorded for its trace.
    pub(crate) fn is_recorded(&self) -> bool {
        self.line.as_ref().and_then(|line| line.trace.as_ref()).is_some_and(Trace::is_recorded)
    }

    pub(super) fn trace_mut(&mut self) -> Option<&mut Trace> {
        self.line.as_mut()?.trace.as_mut()
    }

    /// Begins a wait that the trace shows. It ends with [`ExchangeLog::end_wait`], or with the exchange. Its beginning is kept here and not
    /// in the future that waits, which would grow for all requests.
    pub(crate) fn begin_wait(&mut self, name: &'static str) {
        if let Some(trace) = self.trace_mut() {
            trace.begin_wait(name);
        }
    }

    /// Ends the wait.
    pub(crate) fn end_wait(&mut self) {
        if let Some(trace) = self.trace_mut() {
            trace.end_wait();
        }
    }

    /// Hands the record of the request to the exporter of its traces, if it is one to keep.
    #[cold]
    pub(super) fn record(
        &self,
        mut trace: Trace,
        took: Duration,
        grpc_status: Option<grpc::Status>,
        filters: Option<&Session>,
    ) {
        let Some(traces) = self.telemetry.traces.as_ref().filter(|_| trace.is_recorded()) else { return };
        for FilterWork { name, is_response, began, took } in
            filters.map(Session::take_work).unwrap_or_default()
        {
            trace.filtered(name, is_response, began, took);
        }
        if let Some(trace_id) = trace.sampled() {
            let stats = self.route.as_ref().map_or(&self.telemetry.unrouted, |route| &route.stats);
            stats.exemplify(took, trace_id);
        }
        let record = trace.end(Ending {
            took,
            status: self.status,
            grpc_status: grpc_status.map(grpc::Status::number),
            error: self.error,
            is_failed: self.is_failed(grpc_status),
            listener: self.settings.listener_settings.name.clone(),
            route: self.route.as_ref().map(|route| route.name.clone()),
            path_pattern: self.route.as_ref().and_then(|route| route.path_pattern.clone()),
            received: self.received,
            sent: self.sent,
            request_id: self.request_id().cloned(),
        });
        if let Some(record) = record {
            traces.record(record);
        }
    }
}
