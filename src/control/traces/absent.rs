//! The place of the exporter in a program that was built without it. It refuses configurations with traces.

use super::settings::ExporterSettings;
use crate::observe::traces::TraceQueue;

#[expect(clippy::unused_async, reason = "as in a program with the exporter")]
pub(super) async fn run(_: ExporterSettings, _: TraceQueue) {}
