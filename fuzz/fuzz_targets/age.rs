#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pkdns_fuzz_checks::age::check(input));
