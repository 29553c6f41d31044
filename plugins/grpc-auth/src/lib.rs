//! Asks a gRPC service whether a request may pass. Only the status OK lets it through.

mod question;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use question::{Authorizer, refusal};
use std::rc::Rc;

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
        let Authorizer { upstream, service, method, .. } = &*self.authorizer;
        // An empty message is one whose fields all have their defaults.
        let call = self.dispatch_grpc_call(
            upstream,
            service,
            method,
            question::metadata(&headers),
            Some(b""),
            self.authorizer.timeout(),
        );
        if let Err(status) = call {
            log::error!("no call to upstream `{upstream}`: {status:?}");
            self.refuse(None);
        }
        Action::Pause
    }
}

impl Context for Request {
    fn on_grpc_call_response(&mut self, _token: u32, status: u32, _response_size: usize) {
        if status == 0 {
            self.resume_http_request();
            return;
        }
        let (_, message) = self.get_grpc_status();
        log::info!("status {status}: {}", message.unwrap_or_default());
        self.refuse(Some(status));
    }
}

impl Request {
    fn refuse(&self, status: Option<u32>) {
        let (status, text) = refusal(status);
        self.send_http_response(status, vec![("content-type", "text/plain")], Some(text.as_bytes()));
    }
}
