//! Manifests of plugins, and the section that authors put into components: no bytes panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmkeeper::plugin::manifest;

fuzz_target!(|bytes: &[u8]| {
    let _ = manifest::parse(bytes);
    let _ = manifest::parse_section(bytes);
});
