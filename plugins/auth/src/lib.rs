//! Asks another service whether a request may pass. Without its word, nothing does.

mod verdict;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;
use verdict::{Authorizer, Verdict};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root(Rc<Authorizer>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(authorizer) => self.0 = Rc::new(authorizer),
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
        Some(Box::new(Request { authorizer: Rc::clone(&self.0) }))
    }
}

struct Request {
    authorizer: Rc<Authorizer>,
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let headers = self.get_http_request_headers_bytes();
        let Some(question) = self.authorizer.question(&headers) else {
            self.send_http_response(400, Vec::new(), Some(b"a credential is not text\n"));
            return Action::Pause;
        };
        let authorizer = &self.authorizer;
        let call =
            self.dispatch_http_call(&authorizer.upstream, question, None, Vec::new(), authorizer.timeout());
        if let Err(status) = call {
            log::error!("no call to upstream `{}`: {status:?}", authorizer.upstream);
            self.unavailable();
        }
        Action::Pause
    }
}

impl Context for Request {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body_size: usize, _trailers: usize) {
        // No headers: the call failed or took too long.
        let answer = if headers == 0 { Vec::new() } else { self.get_http_call_response_headers_bytes() };
        match verdict::of(&answer) {
            Verdict::Pass => {
                for name in &self.authorizer.forward {
                    self.set_http_request_header(name, None);
                }
                for (name, value) in answer.iter().filter(|(name, _)| self.authorizer.forwards(name)) {
                    self.add_http_request_header_bytes(name, value);
                }
                self.resume_http_request();
            }
            Verdict::Refuse(status) => {
                let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
                self.send_http_response(status, verdict::for_the_client(&answer), Some(&body));
            }
            Verdict::None => self.unavailable(),
        }
    }
}

impl Request {
    fn unavailable(&self) {
        self.send_http_response(503, Vec::new(), Some(b"authorization is not available\n"));
    }
}
