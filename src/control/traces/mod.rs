//! The exporter of traces: it takes records of requests from their queue and sends them to a receiver of OTLP.
//!
//! An exporter has a thread of its own. Neither the encoding of many spans nor a receiver that is slow delays the control plane, and the
//! control plane's work delays no export.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod client;
#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod grpc;
#[cfg(feature = "otlp")]
mod outcome;
mod settings;

#[cfg(not(feature = "otlp"))]
use absent as exporter;
pub(crate) use settings::ExporterSettings;

use crate::observe::traces::TraceQueue;

/// True if this program was built with the exporter.
pub(crate) const IS_BUILT: bool = cfg!(feature = "otlp");

/// An exporter that does not run yet.
pub(crate) struct NewExporter {
    pub(crate) settings: ExporterSettings,
    pub(crate) queue: TraceQueue,
}

/// Starts an exporter on a thread of its own, which ends when nothing has its traces any more.
pub(crate) fn start(exporter: NewExporter) {
    let NewExporter { mut settings, queue } = exporter;
    settings.connector = settings.connector.resolving_here();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started = runtime.and_then(|runtime| {
        let work = move || {
            runtime.block_on(exporter::run(settings, queue));
            // A connection that hangs must not keep the thread.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("traces".to_owned()).spawn(work)
    });
    if let Err(error) = started {
        tracing::error!("the exporter of traces has no thread, and all spans are dropped: {error}");
    }
}
