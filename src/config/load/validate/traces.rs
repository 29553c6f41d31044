//! Checks of traces.

use super::Findings;
use crate::config::load::code::Code;
use crate::config::{Config, OrOff, OtlpProtocol, Scheme, Traces};
use crate::path;

/// The fields of a request that the exporter sets itself.
const OWN_FIELDS: [&str; 7] =
    ["connection", "content-length", "content-type", "host", "te", "transfer-encoding", "user-agent"];

pub(super) fn validate(config: &Config, findings: &mut Findings<'_>) {
    let OrOff::On(traces) = &config.telemetry.traces else { return };
    let (base, url) = (path!["telemetry", "traces"], traces.otlp.url());
    if traces.protocol == OtlpProtocol::Grpc && url.target != "/" {
        let message = "the path of `otlp` has no effect by gRPC";
        findings.add(
            Code::NoEffect,
            &base,
            &path!["otlp"],
            message,
            "take it out, or write `protocol: http`",
        );
    }
    if url.scheme == Scheme::Http {
        for (key, is_set) in [("ca", traces.tls.ca.is_some()), ("client", traces.tls.client.is_some())] {
            if is_set {
                let message = format!("`{key}` has no effect without an `https` URL");
                findings.add(
                    Code::NoEffect,
                    &base,
                    &path!["tls", key],
                    message,
                    "take it out, or write an `https` URL",
                );
            }
        }
    }
    for name in traces.headers.keys().map(|name| name.as_http().as_str()) {
        if OWN_FIELDS.contains(&name) || name.starts_with("grpc-") {
            let message = format!("the field `{name}` cannot be set");
            findings.add(
                Code::ReservedName,
                &base,
                &path!["headers", name],
                message,
                "take it out: the gateway sets it itself",
            );
        }
    }
    if traces.timeout > Traces::TIMEOUT_MAX {
        let message = format!("`timeout` must be at most {}", Traces::TIMEOUT_MAX);
        findings.add(
            Code::InvalidValue,
            &base,
            &path!["timeout"],
            message,
            "spans wait for it when the receiver does not respond",
        );
    }
}
