//! Sets a field of responses, and replaces a word in those that are text.

mod word;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;
use word::Replacement;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// One for each configuration.
#[derive(Default)]
struct Root(Rc<Replacement>);

impl Context for Root {}

impl RootContext for Root {
    /// `false` refuses the configuration: the gateway stays with the one it has.
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(replacement) => self.0 = Rc::new(replacement),
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
        Some(Box::new(Exchange {
            replacement: Rc::clone(&self.0),
            is_text: false,
        }))
    }
}

/// One for each request and its response.
struct Exchange {
    replacement: Rc<Replacement>,
    is_text: bool,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.set_http_response_header("x-filter", Some("NAME"));
        // The functions that end in `_bytes` take any value; the others panic at what is not UTF-8.
        let media_type = self
            .get_http_response_header_bytes("content-type")
            .unwrap_or_default();
        self.is_text = media_type.starts_with(b"text/") && !end_of_stream;
        if self.is_text {
            self.set_http_response_header("content-length", None);
        }
        Action::Continue
    }

    /// While the answer is `Pause`, the gateway keeps the body; each time there is more of it.
    fn on_http_response_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if self.is_text && !end_of_stream {
            return Action::Pause;
        }
        self.replace_in_body();
        Action::Continue
    }

    /// In some hosts a body that has trailers behind it has no chunk with `end_of_stream`: it ends here.
    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.replace_in_body();
        Action::Continue
    }
}

impl Exchange {
    fn replace_in_body(&self) {
        if self.is_text
            && let Some(body) = self.get_http_response_body(0, usize::MAX)
            && let Some(replaced) = self.replacement.apply(&body)
        {
            self.set_http_response_body(0, body.len(), &replaced);
        }
    }
}
