//! Gives errors a page of one's own, in place of whatever the upstream sent with them.

mod page;

use page::ErrorPage;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root(Rc<ErrorPage>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match serde_json::from_slice(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(page) => self.0 = Rc::new(page),
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
        Some(Box::new(Exchange { page: Rc::clone(&self.0), path: String::new(), request_id: String::new() }))
    }
}

struct Exchange {
    page: Rc<ErrorPage>,
    path: String,
    request_id: String,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let text = |name| page::text(&self.get_http_request_header_bytes(name).unwrap_or_default());
        let (path, request_id) = (text(":path"), text("x-request-id"));
        self.path = page::without_query(&path).to_owned();
        self.request_id = request_id;
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let status = self.get_http_response_header_bytes(":status").unwrap_or_default();
        let Some(status) = page::status(&status).filter(|status| self.page.is_for(*status)) else {
            return Action::Continue;
        };
        if self.request_id.is_empty() {
            let id = self.get_http_response_header_bytes("x-request-id").unwrap_or_default();
            self.request_id = page::text(&id);
        }
        let mut kept = self.get_http_response_headers_bytes();
        kept.retain(|(name, _)| page::says_nothing_of_the_body(name));
        let mut headers: Vec<(&str, &str)> = kept
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), str::from_utf8(value).ok()?)))
            .collect();
        headers.push(("content-type", "text/html; charset=utf-8"));
        let page = self.page.render(status, &self.path, &self.request_id);
        self.send_http_response(status.into(), headers, Some(page.as_bytes()));
        Action::Pause
    }
}
