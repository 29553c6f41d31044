#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::testing::fuzz::trace_context(data));
