//! Writes the ASCII letters of response bodies in capitals, chunk by chunk.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Uppercase));
}}

struct Uppercase;

impl Context for Uppercase {}

impl HttpContext for Uppercase {
    fn on_http_response_body(&mut self, body_size: usize, _end_of_stream: bool) -> Action {
        if let Some(mut chunk) = self.get_http_response_body(0, body_size) {
            chunk.make_ascii_uppercase();
            self.set_http_response_body(0, chunk.len(), &chunk);
        }
        Action::Continue
    }
}
