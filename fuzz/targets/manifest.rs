//! Manifests of plugins, and the section their authors put into components: whatever the bytes, an answer and no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmkeeper::plugin::manifest;

fuzz_target!(|bytes: &[u8]| {
    let _ = manifest::parse(bytes);
    let _ = manifest::parse_section(bytes);
});
