//! Where a component comes from: a file, or one of those that come with the server.

use crate::plugin::{bundled, component};
use anyhow::{Context, anyhow, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};

/// The bytes of a component. A core module that carries the contract's types is made a component.
pub(super) fn read_source(source: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(name) = source.strip_prefix("bundled:") {
        let Some(bundled) = bundled::find(name) else {
            let names: Vec<&str> = bundled::BUNDLED.iter().map(|bundled| bundled.name).collect();
            bail!("there is no bundled plugin {name}; there is {}", names.join(", "));
        };
        return Ok(bundled.component.to_vec());
    }
    let bytes = std::fs::read(source).with_context(|| format!("read {source} (`wasmkeeper plugin build` makes it)"))?;
    component_of(bytes, source)
}

/// Tells the user about the wait if the component carries the engine of a language, which takes long to compile.
pub(super) fn say_if_slow(source: &str, bytes: usize) {
    /// From this size on, a component carries an engine. Plugins in Rust and C have a hundredth of it.
    const ENGINE_BYTES: usize = 4 << 20;
    if bytes > ENGINE_BYTES {
        eprintln!("{source} has {} MB, which take a while to compile, once", bytes / 1_000_000);
    }
}

/// Makes a component of what a toolchain has built, which may be a component already. C, Zig and TinyGo make core
/// modules that import the first version of WASI. An adapter turns those imports into the second version, for which the
/// server has stand-ins.
pub(super) fn component_of(bytes: Vec<u8>, source: &str) -> anyhow::Result<Vec<u8>> {
    if !component::is_core_module(&bytes) {
        return Ok(bytes);
    }
    let encoded = wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(|encoder| encoder.validate(true).encode());
    encoded.map_err(|error| {
        anyhow!(
            "{source} is a core WebAssembly module and cannot be made a component: {error:#}; build it with wasmkeeper-plugin or wit-bindgen, \
             so that it carries the types of wit/plugin.wit"
        )
    })
}
