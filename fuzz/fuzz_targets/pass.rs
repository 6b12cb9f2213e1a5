#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bunho_fuzzing::pass(bytes));
