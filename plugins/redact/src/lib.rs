//! Replaces the values of fields, by their names, anywhere in JSON responses.

mod json;

use json::Redaction;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root(Rc<Redaction>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(redaction) => self.0 = Rc::new(redaction),
            Err(error) => {
                log::error!("config: {error}");
                return false;
            }
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Response { redaction: Rc::clone(&self.0), is_json: false }))
    }
}

struct Response {
    redaction: Rc<Redaction>,
    is_json: bool,
}

impl Context for Response {}

impl HttpContext for Response {
    /// A part of a document is not JSON, and would pass as it is: whole documents only (RFC 9110 §14.2).
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.set_http_request_header("range", None);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let media_type = self.get_http_response_header_bytes("content-type").unwrap_or_default();
        self.is_json = !end_of_stream && json::is_json(&media_type);
        if self.is_json {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if self.is_json && !end_of_stream {
            return Action::Pause;
        }
        self.redact_body();
        Action::Continue
    }

    /// The end of a body that has trailers behind it, in hosts that do not say `end_of_stream` before them.
    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.redact_body();
        Action::Continue
    }
}

impl Response {
    fn redact_body(&self) {
        if !self.is_json {
            return;
        }
        if let Some(body) = self.get_http_response_body(0, usize::MAX)
            && let Some(redacted) = self.redaction.apply(&body)
        {
            self.set_http_response_body(0, body.len(), &redacted);
        }
    }
}
