//! Replaces text in the events of a stream as they pass by: each event goes on as soon as it is there.

mod stream;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use std::rc::Rc;
use stream::{EventStream, Replacement};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root(Rc<Replacement>);

impl Context for Root {}

impl RootContext for Root {
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
        Some(Box::new(Response { replacement: Rc::clone(&self.0), stream: None }))
    }
}

struct Response {
    replacement: Rc<Replacement>,
    /// The events of a response that is a stream of them.
    stream: Option<EventStream>,
}

impl Context for Response {}

impl HttpContext for Response {
    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let media_type = self.get_http_response_header_bytes("content-type").unwrap_or_default();
        if stream::is_event_stream(&media_type) && !end_of_stream {
            self.set_http_response_header("content-length", None);
            self.stream = Some(EventStream::new(Rc::clone(&self.replacement)));
        }
        Action::Continue
    }

    /// Never pauses, so that the gateway holds back no event.
    fn on_http_response_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        if let Some(mut stream) = self.stream.take() {
            let chunk = self.get_http_response_body(0, body_size).unwrap_or_default();
            let mut passed = stream.pass(&chunk);
            if end_of_stream {
                passed.extend(stream.end());
            }
            self.set_http_response_body(0, chunk.len(), &passed);
            self.stream = Some(stream);
        }
        Action::Continue
    }

    /// Appends what is still held, in hosts that do not say `end_of_stream` before trailers.
    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        let held = self.stream.as_mut().map(EventStream::end).unwrap_or_default();
        if !held.is_empty() {
            self.set_http_response_body(usize::MAX, 0, &held);
        }
        Action::Continue
    }
}
