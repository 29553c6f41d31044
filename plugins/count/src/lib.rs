//! Counts requests: as metrics, and in data that all workers share.

mod numbers;

use proxy_wasm::hostcalls::{define_metric, increment_metric, record_metric};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};
use std::rc::Rc;

/// Every worker has an instance of its own; what it writes here, the others see.
const KEY: &str = "count.requests";
/// Other workers write too, so a write may have to be tried again. It is given up before it holds a request up.
const ATTEMPTS: usize = 16;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root(Rc::default())));
}}

/// Metrics by their ids.
#[derive(Default)]
struct Metrics {
    /// Of 1xx to 5xx.
    requests: Vec<u32>,
    body_bytes: u32,
}

struct Root(Rc<Metrics>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let counter = |class| define_metric(MetricType::Counter, &format!("count_requests_{class}xx")).ok();
        let requests: Option<_> = (1..=5).map(counter).collect();
        let body_bytes = define_metric(MetricType::Histogram, "count_response_body_bytes").ok();
        let (Some(requests), Some(body_bytes)) = (requests, body_bytes) else { return false };
        self.0 = Rc::new(Metrics { requests, body_bytes });
        if self.get_shared_data(KEY).0.is_none() {
            return self.set_shared_data(KEY, Some(&numbers::bytes(0)), None).is_ok();
        }
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange { metrics: Rc::clone(&self.0), status: Vec::new(), body_bytes: 0 }))
    }
}

struct Exchange {
    metrics: Rc<Metrics>,
    status: Vec<u8>,
    body_bytes: u64,
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.status = self.get_http_response_header_bytes(":status").unwrap_or_default();
        match self.count() {
            Some(count) => self.set_http_response_header("x-request-count", Some(&count.to_string())),
            None => log::warn!("not counted: others wrote {ATTEMPTS} times in between"),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, body_size: usize, _end_of_stream: bool) -> Action {
        self.body_bytes = self.body_bytes.saturating_add(body_size as u64);
        Action::Continue
    }

    /// Comes once a request, however it ended: also of a body that broke off.
    fn on_log(&mut self) {
        let Some(id) = numbers::class(&self.status).and_then(|class| self.metrics.requests.get(class)) else {
            return;
        };
        let counted = increment_metric(*id, 1);
        if counted.and_then(|()| record_metric(self.metrics.body_bytes, self.body_bytes)).is_err() {
            log::warn!("the gateway does not know its own metrics");
        }
    }
}

impl Exchange {
    /// Adds one to the shared count: reads it, and writes it back if no other worker did in between (`cas`).
    fn count(&self) -> Option<u64> {
        (0..ATTEMPTS).find_map(|_| {
            let (value, cas) = self.get_shared_data(KEY);
            let count = numbers::read(&value.unwrap_or_default()).saturating_add(1);
            self.set_shared_data(KEY, Some(&numbers::bytes(count)), cas).ok().map(|()| count)
        })
    }
}
