//! Inserts a snippet into HTML pages as they pass by: nothing waits for the end of a page.

mod marker;

use marker::{Insertion, Snippet};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root(Rc<Snippet>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(snippet) => self.0 = Rc::new(snippet),
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
        Some(Box::new(Page { snippet: Rc::clone(&self.0), insertion: None }))
    }
}

struct Page {
    snippet: Rc<Snippet>,
    /// Of a response that is a page, until it is done.
    insertion: Option<Insertion>,
}

impl Context for Page {}

impl HttpContext for Page {
    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let media_type = self.get_http_response_header_bytes("content-type").unwrap_or_default();
        // A part of a page (RFC 9110 §14.4) has positions that may not change.
        let is_part = self.get_http_response_header_bytes("content-range").is_some();
        if marker::is_html(&media_type) && !is_part && !end_of_stream {
            self.set_http_response_header("content-length", None);
            self.insertion = Some(Insertion::new(Rc::clone(&self.snippet)));
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        if let Some(mut insertion) = self.insertion.take() {
            let chunk = self.get_http_response_body(0, body_size).unwrap_or_default();
            let size = chunk.len();
            let passed = insertion.pass(chunk, end_of_stream);
            self.set_http_response_body(0, size, &passed);
            self.insertion = (!insertion.is_done()).then_some(insertion);
        }
        Action::Continue
    }

    /// The end of a page that has trailers behind it, in hosts that do not say `end_of_stream` before them: what is still
    /// held belongs to its body.
    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        let held = self.insertion.take().map(Insertion::into_held).unwrap_or_default();
        if !held.is_empty() {
            self.set_http_response_body(usize::MAX, 0, &held);
        }
        Action::Continue
    }
}
