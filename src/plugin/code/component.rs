//! What a file is, read without running it: a component or a module, its imports and exports, its author's manifest.

use crate::plugin::guest::stand_ins;
use crate::plugin::manifest::check::too_large;
use crate::plugin::manifest::{self, Kind, Section};
use wasmparser::{Encoding, Parser, Payload};

/// The package of all imports and exports of a plugin.
const PACKAGE: &str = "wasmkeeper:plugin/";

/// The interfaces that a plugin may import.
const IMPORTS: [&str; 4] = ["types", "logging", "reading", "writing"];

/// The unit of linear memory.
const WASM_PAGE_BYTES: u64 = 64 << 10;

pub(crate) const MANIFEST_SECTION: &str = "wasmkeeper:manifest";

/// A component that can be a plugin on this server.
#[derive(Debug)]
pub struct Inspected {
    pub section: Section,
    /// Whether the component contains its author's manifest. Without one it asks for no grants, and so can read
    /// nothing.
    pub described: bool,
    /// The kinds that the component can be bound as: at least one.
    pub kinds: Vec<Kind>,
    /// The imported interfaces of the contract, and those of WASI that have stand-ins, in the component's order.
    pub imports: Vec<String>,
    /// The bytes of linear memory that a new instance has.
    pub memory_bytes: u64,
}

/// Reads a component. The error is a sentence that names the wrong import, export or form, and the fix.
pub fn inspect(bytes: &[u8]) -> Result<Inspected, String> {
    if bytes.len() > crate::limits::COMPONENT_BYTES_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    if is_core_module(bytes) {
        return Err("the file is a core WebAssembly module: make a component of it with `wasm-tools component new`, or deploy it with \
                    `wasmkeeper plugin deploy`, which does so"
            .into());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("the file is not a WebAssembly component: it does not begin as WebAssembly does".into());
    }
    let mut seen = Seen::default();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| format!("the file is not a WebAssembly component: {error}"))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("the file is a core WebAssembly module, not a component".into());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                seen.manifest = Some(manifest::parse_section(section.data())?);
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory.map_err(|error| format!("the component's memories cannot be read: {error}"))?;
                    seen.memory_bytes =
                        seen.memory_bytes.saturating_add(memory.initial.saturating_mul(WASM_PAGE_BYTES));
                }
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let import = import.map_err(|error| format!("the component's imports cannot be read: {error}"))?;
                    check_import(import.name.name)?;
                    seen.imports.push(import.name.name.to_string());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(|error| format!("the component's exports cannot be read: {error}"))?;
                    seen.exports.push(export.name.name.to_string());
                }
            }
            _ => {}
        }
    }
    let kinds = seen.kinds()?;
    let described = seen.manifest.is_some();
    Ok(Inspected {
        section: seen.manifest.unwrap_or_default(),
        described,
        kinds,
        imports: seen.imports,
        memory_bytes: seen.memory_bytes,
    })
}

/// The refusal of a component whose instances start with more memory than the bound, and how to fix that.
pub(crate) fn memory_refusal(memory_bytes: u64, memory_bytes_max: usize) -> Option<String> {
    (memory_bytes > memory_bytes_max as u64).then(|| {
        format!(
            "an instance of the component begins with {memory_bytes} bytes of memory and may have {memory_bytes_max}: give it more with --memory \
             (at most {} MiB), or build it with less (C and C++: `-Wl,-z,stack-size=65536`, Zig's stack is 16 MiB)",
            crate::limits::PLUGIN_MEMORY_BYTES_MAX >> 20
        )
    })
}

/// The component with its author's manifest added at the end.
pub(crate) fn with_manifest(mut component: Vec<u8>, manifest: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    leb128(&mut section, MANIFEST_SECTION.len());
    section.extend_from_slice(MANIFEST_SECTION.as_bytes());
    section.extend_from_slice(manifest);
    // The id of a custom section.
    component.push(0);
    leb128(&mut component, section.len());
    component.extend_from_slice(&section);
    component
}

/// A number in LEB128, as WebAssembly writes it: seven bits a byte, low bits first. The last byte has no high bit.
fn leb128(into: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
    }
}

/// Whether the bytes begin as a core module does: version 1, layer 0.
pub(crate) fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

#[derive(Default)]
struct Seen {
    memory_bytes: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    manifest: Option<Section>,
}

/// The name `reading` and the version `1.0.0` of `wasmkeeper:plugin/reading@1.0.0`.
fn interface(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.split_once('@')
}

fn check_import(name: &str) -> Result<(), String> {
    match interface(name) {
        Some((interface, version)) if IMPORTS.contains(&interface) && version.starts_with("1.") => Ok(()),
        Some((interface, version)) if IMPORTS.contains(&interface) => Err(format!(
            "the component imports {name}, version {version} of the contract, and this server has 1.0: build it against the server's wit/plugin.wit"
        )),
        Some(_) => Err(format!(
            "the component imports {name}, which this server does not have: build it against the server's wit/plugin.wit"
        )),
        None if stand_ins::interface(name).is_some() => Ok(()),
        None if name.starts_with("wasi:") => Err(stand_ins::refusal(name)),
        None => {
            Err(format!("the component imports {name}: a plugin may only import {PACKAGE}{{{}}}", IMPORTS.join(",")))
        }
    }
}

impl Seen {
    fn kinds(&self) -> Result<Vec<Kind>, String> {
        let exported = |wanted: &str| {
            self.exports.iter().any(|name| {
                interface(name).is_some_and(|(interface, version)| interface == wanted && version.starts_with("1."))
            })
        };
        let missing = |what: &str| {
            format!("the component does not export {what}: build it for a world of the server's wit/plugin.wit")
        };
        if !exported("setup") {
            return Err(missing(&format!("{PACKAGE}setup@1.0.0")));
        }
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| exported(kind.interface())).collect();
        if kinds.is_empty() {
            let interfaces = Kind::ALL.map(Kind::interface).join(", ");
            return Err(missing(&format!("any kind's interface of {PACKAGE}{{{interfaces}}}@1.0.0")));
        }
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::code::bundled;

    #[test]
    fn a_bundled_component_and_its_manifest() {
        let guard = inspect(bundled::find("guard").unwrap().component).unwrap();
        assert!(guard.section.pure);
        assert_eq!(guard.kinds, [Kind::Validator]);
        assert_eq!(guard.section.name, "guard");
        assert_eq!(guard.section.grants[0].path, "$mount");
        // 17 pages: the stack of a Rust guest has one MiB.
        assert!((1 << 20..2 << 20).contains(&guard.memory_bytes), "{}", guard.memory_bytes);
        assert_eq!(memory_refusal(guard.memory_bytes, 2 << 20), None);
        assert!(
            memory_refusal(guard.memory_bytes, 65_536).unwrap().contains("may have 65536: give it more with --memory")
        );
    }

    #[test]
    fn refusals_of_components_name_the_fix() {
        let core = inspect(b"\0asm\x01\0\0\0").unwrap_err();
        assert!(core.contains("core WebAssembly module") && core.contains("wasm-tools component new"), "{core}");
        let text = inspect(b"#!/bin/sh").unwrap_err();
        assert!(text.contains("not a WebAssembly component"), "{text}");
        // An empty component: magic, version 13, layer 1.
        let empty = inspect(b"\0asm\x0d\0\x01\0").unwrap_err();
        assert!(empty.contains("does not export wasmkeeper:plugin/setup"), "{empty}");
        assert!(check_import("wasi:cli/environment@0.2.3").is_ok());
        let wasi = check_import("wasi:cli/environment@0.3.0").unwrap_err();
        assert!(wasi.contains("wasi:cli/environment@0.3.0") && wasi.contains("wasm32-unknown-unknown"), "{wasi}");
        let newer = check_import("wasmkeeper:plugin/reading@2.0.0").unwrap_err();
        assert!(newer.contains("2.0.0"), "{newer}");
        assert!(check_import("wasmkeeper:plugin/writing@1.0.0").is_ok());
        assert!(check_import("env:thing/x").is_err());
    }

    #[test]
    fn cut_components_do_not_panic() {
        let guard = bundled::find("guard").unwrap().component;
        for end in (0..guard.len()).step_by(977) {
            assert!(inspect(&guard[..end]).is_err());
        }
    }
}
