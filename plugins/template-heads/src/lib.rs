//! Sets a field of responses that are text.

mod field;

use field::Field;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One for each configuration.
#[derive(Default)]
struct Root(Rc<Field>);

impl Context for Root {}

impl RootContext for Root {
    /// `false` refuses the configuration: the gateway stays with the one it has.
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(field) => self.0 = Rc::new(field),
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
        Some(Box::new(Exchange(Rc::clone(&self.0))))
    }
}

/// One for each request and its response.
struct Exchange(Rc<Field>);

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // The functions that end in `_bytes` take any value; the others panic at what is not UTF-8.
        let media_type = self
            .get_http_response_header_bytes("content-type")
            .unwrap_or_default();
        if let Some(value) = self.0.value_for(&media_type) {
            self.set_http_response_header("x-filter", Some(value));
        }
        Action::Continue
    }
}
