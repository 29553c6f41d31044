#![no_main]

fn compile(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is that of a module")
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::testing::fuzz::filter_abi(data, compile));
