#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gossamer_fuzz::onnx(input));
