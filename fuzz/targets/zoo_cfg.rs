//! `zoo.cfg`, our own format and the JAAS file: no bytes panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmkeeper::config::keys::{self, Draft, Effect};
use wasmkeeper::config::{jaas, properties, toml_file};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let settings: Vec<(String, String)> = match kind % 3 {
        0 => properties::parse(text).into_iter().flatten().map(|line| (line.key, line.value)).collect(),
        1 => toml_file::parse(text).into_iter().flatten().map(|entry| (entry.name, entry.value)).collect(),
        _ => {
            let _ = jaas::users(text, "Server");
            return;
        }
    };
    let mut draft = Draft::default();
    for (name, value) in settings {
        if let Some(Effect::Set(set)) = keys::by_name(&name).or_else(|| keys::by_toml(&name)).map(|key| &key.effect) {
            let _ = set(&mut draft, &name, &value);
        }
    }
});
