//! The settings of an exporter.

use http::{HeaderName, HeaderValue};

use crate::config::Traces;
use crate::control::connector::Connector;

/// The settings of an exporter.
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "a program without the exporter refuses traces")
)]
pub(crate) struct ExporterSettings {
    pub(crate) written: Traces,
    pub(crate) connector: Connector,
    /// The fields for the receiver, with their secrets.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}
