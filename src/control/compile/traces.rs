//! The traces of requests, and the exporter of their spans.

use std::path::Path;

use http::HeaderValue;

use super::snapshot::Builder;
use crate::config;
use crate::config::load::code::Code;
use crate::control::compile::problems::code_of;
use crate::control::connector::{Connector, Tls};
use crate::control::traces::{self, ExporterSettings, NewExporter};
use crate::net::tls::{self, ClientTls};
use crate::observe::traces::{TraceSource, Traces};
use crate::path;

impl Builder<'_> {
    /// Builds the traces, unless they are off. Those that are as before are taken over with their exporter.
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let written = self.config().telemetry.traces.as_on()?;
        let base = path!["telemetry", "traces"];
        if !traces::IS_BUILT {
            let error =
                self.loaded.source.error(Code::Unsupported, &base, "this program was built without traces");
            self.errors
                .push(error.help("build it with `cargo build --release --features otlp`, or take a package"));
            return None;
        }
        let (ca, client) = (written.tls.ca.as_deref(), written.tls.client.as_ref());
        let connector = self.otlp_connector(written);
        let headers = self.otlp_headers(written);
        let secrets = written.headers.values().filter_map(|secret| match secret {
            config::Secret::File(path) => Some(path.as_path()),
            config::Secret::Value(_) => None,
        });
        let pair = client.iter().flat_map(|pair| [pair.cert.as_path(), pair.key.as_path()]);
        let files = ca.into_iter().chain(pair).chain(secrets);
        let files = files.map(|path: &Path| self.files().mark(path)).collect();
        let (connector, headers) = (connector?, headers?);
        let source = TraceSource { settings: written.clone(), files };
        let before = self.previous_traces();
        if let Some(same) = before.filter(|before| *before.source() == source) {
            return Some(same.clone());
        }
        let counts = before.map(|before| before.counts().clone()).unwrap_or_default();
        let (traces, queue) = Traces::new(source, counts);
        let settings = ExporterSettings { written: written.clone(), connector, headers };
        self.commit_plan_mut().export(NewExporter { settings, queue });
        Some(traces)
    }

    fn otlp_connector(&mut self, written: &config::Traces) -> Option<Connector> {
        let url = written.otlp.url();
        let alpn = match written.protocol {
            config::OtlpProtocol::Grpc => tls::ALPN_H2,
            config::OtlpProtocol::Http => tls::ALPN_H1,
        };
        let settings =
            ClientTls { ca: written.tls.ca.clone(), identity: written.tls.client.clone(), verify: true };
        let tls = match url.scheme {
            config::Scheme::Http => Ok(None),
            config::Scheme::Https => Tls::new(settings, self.files()).map(Some),
        };
        let connector = tls.and_then(|tls| Connector::new(url, tls.as_ref(), alpn, self.resolver()));
        let connector = connector.map_err(|error| {
            let key = if written.tls.is_default() { "otlp" } else { "tls" };
            let place = path!["telemetry", "traces", key];
            self.errors.push(self.loaded.source.error(code_of(&error), &place, error.to_string()));
        });
        connector.ok()
    }

    /// Reads the fields for the receiver.
    fn otlp_headers(&mut self, written: &config::Traces) -> Option<Vec<(http::HeaderName, HeaderValue)>> {
        let mut headers = Vec::new();
        for (name, secret) in &written.headers {
            let name = name.as_http();
            let place = path!["telemetry", "traces", "headers", name.as_str()];
            let Some(text) = self.secret(secret, &place) else { continue };
            match HeaderValue::from_str(&text) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.push((name.clone(), value));
                }
                Err(_) => {
                    let message = "the secret has characters that no field can have";
                    self.errors.push(self.loaded.source.error(Code::InvalidValue, &place, message));
                }
            }
        }
        (headers.len() == written.headers.len()).then_some(headers)
    }
}
