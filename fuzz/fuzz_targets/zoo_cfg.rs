//! `zoo.cfg`, JAAS file and TOML: whatever the bytes, an answer and no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmkeeper::config::parse_any;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    parse_any(*kind, text);
});
