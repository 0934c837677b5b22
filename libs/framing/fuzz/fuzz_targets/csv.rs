#![no_main]

use forebay_framing::Framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| forebay_framing_fuzz::check(&Framing::Csv { delimiter: b',', quote: b'"' }, data));
