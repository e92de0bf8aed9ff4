//! Stand-ins for WASI: functions for what components of stock toolchains import beside the contract. They give no
//! access to anything outside the call.
//!
//! Rust for `wasm32-wasip2`, JavaScript, Python and C import a part of WASI 0.2, whether their authors use it or not.
//! Every imported interface of the packages below gets stand-ins, in any patch version:
//!
//! | of WASI | what the stand-in does |
//! |---|---|
//! | standard output, standard error | writes lines to the plugin's log, at `info` and `warn` |
//! | wall clock, monotonic clock | return the call's `wall-ms` and `ensemble-ms`; 0 in `configure` |
//! | random bytes and numbers | are derived from the call's `seed`, so that each run of the call gets the same |
//! | environment, arguments, preopened folders, terminals | are empty |
//! | standard input | is at its end |
//! | everything else: files, sockets, HTTP, waiting, exit | ends the call with a trap that names the function |
//!
//! Every function is bounded, as in `functions`, because fuel and fuse cannot interrupt the host.

use super::host::HostState;
use crate::limits;
use crate::plugin::contract::logging::{self, Host as _};
use crate::plugin::contract::reading::HostView as _;
use crate::plugin::contract::types::Context;
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, InstancePre, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

/// The packages of WASI that have stand-ins. A component that imports another package is refused when it is deployed,
/// because no toolchain imports one by accident.
const PACKAGES: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// The version of WASI that has stand-ins, in any patch version.
pub(crate) const VERSION: &str = "0.2";

/// How many bytes of an unfinished line are kept. The log cuts longer lines anyway.
const LINE_BYTES_MAX: usize = limits::PLUGIN_LOG_LINE_BYTES_MAX;

/// The name `cli/stdout` of the import `wasi:cli/stdout@0.2.9`. None if there are no stand-ins for the import.
pub(crate) fn interface(import: &str) -> Option<&str> {
    let (name, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    let (package, _) = name.split_once('/')?;
    let patch = version.strip_prefix(VERSION)?.strip_prefix('.')?;
    (PACKAGES.contains(&package) && patch.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// The refusal of an import that begins with `wasi:` and has no stand-ins, and how to fix the component.
pub(crate) fn refusal(import: &str) -> String {
    let version = import.split_once('@').map_or("", |(_, version)| version);
    if version.starts_with("0.2.") {
        let packages = PACKAGES.join(", ");
        return format!(
            "the component imports {import}, which no plugin has: of WASI there are powerless stand-ins for {packages}; build it without"
        );
    }
    format!(
        "the component imports {import}, and there are stand-ins for WASI {VERSION} only: build it with a toolchain for WASI {VERSION} (Rust: \
         wasm32-wasip2; componentize-qjs: --sync), or without WASI (Rust: wasm32-unknown-unknown)"
    )
}

/// What the stand-ins of one instance remember.
#[derive(Default)]
pub(crate) struct StandIns {
    /// The bytes after the last line break, of standard output and of standard error.
    unfinished: [Vec<u8>; 2],
    /// How many random numbers were drawn since `seed` changed.
    drawn: u64,
    seed: u64,
}

/// The component with all its imports: `linker` provides the contract's, and stand-ins provide those of WASI.
pub(crate) fn instantiate_pre(
    linker: &Linker<HostState>,
    component: &Component,
) -> wasmtime::Result<InstancePre<HostState>> {
    let engine = linker.engine();
    let component_type = component.component_type();
    let wasi = component_type.imports(engine).filter(|(import, _)| interface(import).is_some());
    let mut linker = linker.clone();
    for (import, item) in wasi {
        let (Some(name), ComponentItem::ComponentInstance(item)) = (interface(import), item.ty) else { continue };
        let mut instance = linker.instance(import)?;
        for (item, is) in item.exports(engine) {
            match is.ty {
                // All resources of WASI are of one type. The number of a handle says what the handle means.
                ComponentItem::Resource(_) => {
                    instance.resource(item, ResourceType::host::<Handle>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => define(&mut instance, import, name, item)?,
                _ => {}
            }
        }
    }
    linker.instantiate_pre(component)
}

/// Logs the lines that a call has left unfinished. This runs after each call, failed calls included: the last words of
/// a failed call matter most.
pub(crate) fn finish_lines(state: &mut HostState) {
    for stream in [Stream::Output, Stream::Error] {
        let unfinished = std::mem::take(&mut state.stand_ins.unfinished[stream as usize]);
        log(state, stream, &unfinished);
    }
}

/// The type behind a handle to any resource of WASI.
struct Handle;

/// The numbers of the handles that a guest can get. No handle has a resource behind it.
const OUTPUT: u32 = 0;
const ERROR: u32 = 1;
const INPUT: u32 = 2;
/// A pollable that is always ready.
const READY: u32 = 3;

#[derive(Clone, Copy)]
enum Stream {
    Output = OUTPUT as isize,
    Error = ERROR as isize,
}

/// The type `stream-error` of `wasi:io/streams`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Handle>),
    #[component(name = "closed")]
    Closed,
}

/// The type `datetime` of `wasi:clocks/wall-clock`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// The error of a function that no plugin may use.
#[derive(Debug, thiserror::Error)]
#[error("{import}#{function} was called: a plugin has no files, network or processes, and cannot wait")]
struct Powerless {
    import: String,
    function: String,
}

type Caller<'a> = StoreContextMut<'a, HostState>;

/// Defines the function `item` of the interface `name`. The component imports the interface as `import`.
fn define(instance: &mut LinkerInstance<'_, HostState>, import: &str, name: &str, item: &str) -> wasmtime::Result<()> {
    match (name, item) {
        ("cli/stdout", "get-stdout") => handle(instance, item, OUTPUT),
        ("cli/stderr", "get-stderr") => handle(instance, item, ERROR),
        ("cli/stdin", "get-stdin") => handle(instance, item, INPUT),
        ("cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr", _) => {
            instance.func_wrap(item, |_: Caller<'_>, ()| Ok((None::<Resource<Handle>>,)))
        }
        ("cli/environment", "get-environment") => {
            instance.func_wrap(item, |_: Caller<'_>, ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("cli/environment", "get-arguments") => {
            instance.func_wrap(item, |_: Caller<'_>, ()| Ok((Vec::<String>::new(),)))
        }
        ("cli/environment", "initial-cwd") => instance.func_wrap(item, |_: Caller<'_>, ()| Ok((None::<String>,))),
        ("filesystem/preopens", "get-directories") => {
            instance.func_wrap(item, |_: Caller<'_>, ()| Ok((Vec::<(Resource<Handle>, String)>::new(),)))
        }
        ("clocks/wall-clock", "now") => {
            instance.func_wrap(item, |mut caller: Caller<'_>, ()| Ok((datetime(context(&mut caller)?.wall_ms),)))
        }
        ("clocks/wall-clock", "resolution") => instance.func_wrap(item, |_: Caller<'_>, ()| Ok((datetime(1),))),
        ("clocks/monotonic-clock", "now") => instance.func_wrap(item, |mut caller: Caller<'_>, ()| {
            Ok((context(&mut caller)?.ensemble_ms.saturating_mul(NANOSECONDS_PER_MS),))
        }),
        ("clocks/monotonic-clock", "resolution") => {
            instance.func_wrap(item, |_: Caller<'_>, ()| Ok((NANOSECONDS_PER_MS,)))
        }
        ("random/random", "get-random-u64") | ("random/insecure", "get-insecure-random-u64") => {
            instance.func_wrap(item, |mut caller: Caller<'_>, ()| Ok((random(&mut caller)?,)))
        }
        ("random/insecure-seed", _) => {
            instance.func_wrap(item, |mut caller: Caller<'_>, ()| Ok(((random(&mut caller)?, random(&mut caller)?),)))
        }
        ("random/random", "get-random-bytes") | ("random/insecure", "get-insecure-random-bytes") => instance
            .func_wrap(item, |mut caller: Caller<'_>, (count,): (u64,)| Ok((random_bytes(&mut caller, count)?,))),
        ("io/streams", _) => define_streams(instance, import, item),
        ("io/poll", "[method]pollable.ready") => {
            instance.func_wrap(item, |_: Caller<'_>, (_,): (Resource<Handle>,)| Ok((true,)))
        }
        ("io/poll", "[method]pollable.block") => {
            instance.func_wrap(item, |_: Caller<'_>, (_,): (Resource<Handle>,)| Ok(()))
        }
        ("io/poll", "poll") => instance.func_wrap(item, |_: Caller<'_>, (all,): (Vec<Resource<Handle>>,)| {
            Ok(((0u32..).zip(&all).map(|(index, _)| index).collect::<Vec<_>>(),))
        }),
        _ => trap(instance, import, item),
    }
}

/// Defines a function of standard input, output or error.
fn define_streams(instance: &mut LinkerInstance<'_, HostState>, import: &str, item: &str) -> wasmtime::Result<()> {
    type Done = Result<(), StreamError>;
    match item {
        "[method]output-stream.check-write" => instance.func_wrap(item, |_: Caller<'_>, (_,): (Resource<Handle>,)| {
            Ok((Ok::<u64, StreamError>(limits::STAND_IN_WRITE_BYTES_MAX),))
        }),
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            instance.func_wrap(item, |mut caller: Caller<'_>, (handle, bytes): (Resource<Handle>, Vec<u8>)| {
                let stream = if handle.rep() == ERROR { Stream::Error } else { Stream::Output };
                write(caller.data_mut(), stream, &bytes);
                Ok((Done::Ok(()),))
            })
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            instance.func_wrap(item, |_: Caller<'_>, (_,): (Resource<Handle>,)| Ok((Done::Ok(()),)))
        }
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => instance
            .func_wrap(item, |_: Caller<'_>, (_, _): (Resource<Handle>, u64)| {
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            }),
        "[method]output-stream.subscribe" | "[method]input-stream.subscribe" => instance
            .func_wrap(item, |_: Caller<'_>, (_,): (Resource<Handle>,)| Ok((Resource::<Handle>::new_own(READY),))),
        _ => trap(instance, import, item),
    }
}

/// Defines a function that returns a handle.
fn handle(instance: &mut LinkerInstance<'_, HostState>, item: &str, number: u32) -> wasmtime::Result<()> {
    instance.func_wrap(item, move |_: Caller<'_>, ()| Ok((Resource::<Handle>::new_own(number),)))
}

/// Defines a function that ends the call.
fn trap(instance: &mut LinkerInstance<'_, HostState>, import: &str, item: &str) -> wasmtime::Result<()> {
    let (import, function) = (import.to_owned(), item.to_owned());
    instance
        .func_new(item, move |_, _, _, _| Err(Powerless { import: import.clone(), function: function.clone() }.into()))
}

const NANOSECONDS_PER_MS: u64 = 1_000_000;

fn datetime(ms: u64) -> Datetime {
    // The product is below 10^9, so the cast keeps the value.
    Datetime { seconds: ms / 1000, nanoseconds: (ms % 1000 * NANOSECONDS_PER_MS) as u32 }
}

/// The circumstances of the call, through `view.context` as a plugin would ask. So a policy that reads the clock is
/// asked again each time.
fn context(caller: &mut Caller<'_>) -> wasmtime::Result<Context> {
    caller.data_mut().context(Resource::new_borrow(0))
}

/// The next random number (splitmix64). The sequence starts again when the seed changes.
fn random(caller: &mut Caller<'_>) -> wasmtime::Result<u64> {
    let seed = context(caller)?.seed;
    let own = &mut caller.data_mut().stand_ins;
    if own.seed != seed {
        (own.seed, own.drawn) = (seed, 0);
    }
    own.drawn += 1;
    Ok(mix(seed.wrapping_add(own.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn random_bytes(caller: &mut Caller<'_>, count: u64) -> wasmtime::Result<Vec<u8>> {
    if count > limits::STAND_IN_RANDOM_BYTES_MAX {
        let most = limits::STAND_IN_RANDOM_BYTES_MAX;
        wasmtime::bail!("{count} random bytes were asked for, at most {most} are given at once");
    }
    // The check above bounds `count`.
    let count = count as usize;
    let mut bytes = Vec::with_capacity(count + size_of::<u64>());
    while bytes.len() < count {
        bytes.extend_from_slice(&random(caller)?.to_le_bytes());
    }
    bytes.truncate(count);
    Ok(bytes)
}

/// Logs the finished lines and keeps the rest.
fn write(state: &mut HostState, stream: Stream, bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(part) = lines.next() {
        let unfinished = &mut state.stand_ins.unfinished[stream as usize];
        // The log cuts lines at the same length, so nothing is lost that the log would show.
        let room = LINE_BYTES_MAX.saturating_sub(unfinished.len());
        unfinished.extend_from_slice(&part[..part.len().min(room)]);
        if lines.peek().is_some() {
            let line = std::mem::take(unfinished);
            log(state, stream, &line);
        }
    }
}

/// Logs one line. Empty lines are skipped, because the log's lines are counted.
fn log(state: &mut HostState, stream: Stream, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    if line.is_empty() {
        return;
    }
    let level = match stream {
        Stream::Output => logging::Level::Info,
        Stream::Error => logging::Level::Warn,
    };
    // `log` never fails for a line.
    let _ = state.log(level, line.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_patch_version_of_wasi_0_2_has_stand_ins() {
        assert_eq!(interface("wasi:cli/stdout@0.2.0"), Some("cli/stdout"));
        assert_eq!(interface("wasi:io/streams@0.2.12"), Some("io/streams"));
        for without in [
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout@0.20.0",
            "wasi:cli/stdout@0.2.0-rc-2023-11-10",
            "wasi:cli/stdout",
            "wasi:keyvalue/store@0.2.0",
            "wasmkeeper:plugin/types@1.0.0",
        ] {
            assert_eq!(interface(without), None, "{without}");
        }
    }

    #[test]
    fn refusals_of_imports_name_the_fix() {
        let other = refusal("wasi:keyvalue/store@0.2.0");
        assert!(other.contains("wasi:keyvalue/store@0.2.0") && other.contains("sockets"), "{other}");
        let later = refusal("wasi:cli/stdout@0.3.0");
        assert!(later.contains("wasi:cli/stdout@0.3.0") && later.contains("wasm32-wasip2"), "{later}");
    }

    #[test]
    fn times_become_seconds_and_nanoseconds() {
        let time = datetime(1_234_567);
        assert_eq!((time.seconds, time.nanoseconds), (1234, 567_000_000));
    }
}
