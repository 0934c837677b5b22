#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forebay_decode_fuzz::ndjson(data));
