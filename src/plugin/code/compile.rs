//! Machine code: a child process of our own binary makes it, and it is kept on disk and loaded from there.
//!
//! A process that compiles hostile input may die. So a child with low priority and bounded memory and time compiles,
//! and the death of the child is a refusal. The result is a file `<data-dir>/plugins-cache/<sha256 of the
//! component>-<hash of the engine's settings>.cwasm`:
//!
//! ```text
//! bytes   what
//! 8       "WKCODE01"
//! 32      SHA3-256 of the key in plugins-cache/key, then the rest of the file
//! rest    what wasmtime serialised
//! ```
//!
//! To load machine code is to run it, so the server loads only files that it wrote itself. The key is a secret of the
//! data directory (mode 0600). A file that does not match the key is compiled again.
//!
//! The members of a simulated run share one process, one engine and the compiled code. They start no child: the child's
//! time limit, and the age of files, are the only uses of the machine's clock here.

use crate::limits;
use crate::plugin::contract;
use crate::plugin::guest::engine;
use parking_lot::Mutex;
use sha3::{Digest, Sha3_256};
use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Engine;
use wasmtime::component::Component;

const MAGIC: &[u8; 8] = b"WKCODE01";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// The hidden subcommand: `wasmkeeper compile-plugin IN OUT`.
pub(crate) const SUBCOMMAND: &str = "compile-plugin";

/// How and where a server gets machine code, and which engine runs the code.
#[derive(Clone, Debug)]
pub struct Compiler {
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    /// Compiles in this process and keeps nothing. For tests.
    Here,
    /// Compiles in this process, once for all servers in it. For the simulation.
    Shared(Arc<Shared>),
    Child {
        program: PathBuf,
        folder: PathBuf,
        key: [u8; KEY_BYTES],
    },
}

struct Shared {
    engine: Engine,
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// By the SHA-256 of the component.
    loaded: Mutex<HashMap<String, Component>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one engine for all, code in {}", self.folder.display())
    }
}

impl Compiler {
    /// A compiler that works in this process and keeps nothing. For tests.
    pub(crate) fn here() -> Compiler {
        Compiler { how: How::Here }
    }

    /// A compiler for servers that share a process. They share an engine without a ticking epoch, and what one server
    /// has compiled the others use. Files in `folder` serve later processes.
    pub fn shared(folder: &Path) -> Result<Compiler, String> {
        let key = prepare(folder)?;
        let engine =
            engine::still_engine().map_err(|error| format!("the WebAssembly engine cannot start: {error:#}"))?;
        let shared = Shared { engine, folder: folder.into(), key, loaded: Mutex::default() };
        Ok(Compiler { how: How::Shared(Arc::new(shared)) })
    }

    /// A compiler that starts this very binary as its child, even if the binary's file has been replaced meanwhile.
    pub(crate) fn child(data_dir: &Path) -> Result<Compiler, String> {
        let folder = data_dir.join("plugins-cache");
        let key = prepare(&folder)?;
        Ok(Compiler { how: How::Child { program: "/proc/self/exe".into(), folder, key } })
    }

    /// The folder where machine code is kept. The current folder if none is kept.
    pub(crate) fn folder(&self) -> &Path {
        match &self.how {
            How::Here => Path::new("."),
            How::Shared(shared) => &shared.folder,
            How::Child { folder, .. } => folder,
        }
    }

    /// The engine that runs the code.
    pub fn engine(&self) -> wasmtime::Result<Engine> {
        match &self.how {
            How::Here | How::Child { .. } => engine::running_engine(),
            How::Shared(shared) => Ok(shared.engine.clone()),
        }
    }

    /// The machine code of a component. The caller has checked the component's digest. The error is a sentence.
    pub fn component(
        &self,
        engine: &Engine,
        sha256: &str,
        component: &dyn Fn() -> Result<Vec<u8>, String>,
    ) -> Result<Component, String> {
        match &self.how {
            How::Here => {
                Component::new(engine, component()?).map_err(|e| format!("the component cannot be compiled: {e:#}"))
            }
            How::Shared(shared) => {
                let mut loaded = shared.loaded.lock();
                if let Some(known) = loaded.get(sha256) {
                    return Ok(known.clone());
                }
                let made = kept(engine, &shared.folder, &shared.key, sha256, &|file| {
                    let code = engine.precompile_component(&component()?);
                    let code = code.map_err(|e| format!("the component cannot be compiled: {e:#}"))?;
                    seal(file, &shared.key, &code)
                })?;
                loaded.insert(sha256.into(), made.clone());
                Ok(made)
            }
            How::Child { program, folder, key } => {
                kept(engine, folder, key, sha256, &|file| compile(program, folder, file, key, &component()?))
            }
        }
    }
}

impl Compiler {
    /// Removes machine code that no component in `named` needs or another release made, and what a killed process left
    /// half done. Keeps files that are younger than an hour: a deployment compiles a component before a manifest names
    /// it.
    pub(crate) fn sweep(&self, named: &BTreeSet<String>) {
        let How::Child { folder, .. } = &self.how else { return };
        let old = limits::CHUNK_UNUSED;
        let is_old = |file: &fs::DirEntry| {
            let modified = file.metadata().and_then(|about| about.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > old))
        };
        // Starts an engine only if there is code to compare with it.
        let needed = LazyCell::new(|| {
            let compatibility = self.engine().map(|engine| compatibility(&engine)).ok()?;
            Some(named.iter().map(|sha256| file_name(sha256, compatibility)).collect::<BTreeSet<_>>())
        });
        for file in fs::read_dir(folder).into_iter().flatten().flatten().filter(is_old) {
            let name = file.file_name().to_string_lossy().into_owned();
            let is_needed = match name.strip_suffix(".cwasm") {
                Some(_) => needed.as_ref().is_none_or(|needed| needed.contains(&name)),
                // `marks` removes its own files.
                None => name == "key" || name.starts_with("calls-"),
            };
            if !is_needed && let Err(error) = fs::remove_file(file.path()) {
                tracing::warn!("remove {}: {error}", file.path().display());
            }
        }
    }
}

fn file_name(sha256: &str, compatibility: u64) -> String {
    format!("{sha256}-{compatibility:016x}.cwasm")
}

/// The code of a component from its file in `folder`. `make` writes the file if it is not there.
fn kept(
    engine: &Engine,
    folder: &Path,
    key: &[u8; KEY_BYTES],
    sha256: &str,
    make: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<Component, String> {
    let file = folder.join(file_name(sha256, compatibility(engine)));
    match load(engine, &file, key) {
        Ok(loaded) => return Ok(loaded),
        Err(Unusable::Absent) => {}
        Err(Unusable::Bad(why)) => tracing::warn!("{}: {why}; compiling the plugin again", file.display()),
    }
    make(&file)?;
    load(engine, &file, key).map_err(|error| match error {
        Unusable::Absent => format!("{} has vanished", file.display()),
        Unusable::Bad(why) => format!("{}: {why}", file.display()),
    })
}

/// Creates the folder for machine code, and its key.
fn prepare(folder: &Path) -> Result<[u8; KEY_BYTES], String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| format!("create {}: {e}", folder.display()))?;
    key(&folder.join("key"))
}

enum Unusable {
    Absent,
    Bad(String),
}

/// Reads the key, or makes one.
fn key(path: &Path) -> Result<[u8; KEY_BYTES], String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("{what} {}: {e}", path.display());
    let mut key = [0; KEY_BYTES];
    match File::open(path) {
        Ok(mut file) => match file.read_exact(&mut key) {
            Ok(()) => return Ok(key),
            // A crash cut the file short. What the lost key sealed is compiled again.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(failed("read", &error)),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("open", &error)),
    }
    crate::environment::fill_random(&mut key).map_err(|e| failed("find randomness for", &e))?;
    write_whole(path, &[&key]).map_err(|e| failed("write", &e))?;
    Ok(key)
}

/// Writes a file beside and renames it, so that a reader finds all of it or nothing. The file is not synced: what a
/// crash loses is made again.
fn write_whole(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    for part in parts {
        file.write_all(part)?;
    }
    drop(file);
    fs::rename(&beside, path)
}

fn mac(key: &[u8; KEY_BYTES], code: &[u8]) -> [u8; MAC_BYTES] {
    // SHA-3 has no length extension, so a key in front makes a message authentication code of it.
    Sha3_256::new().chain_update(key).chain_update(code).finalize().into()
}

/// What machine code depends on besides the component.
pub(crate) fn compatibility(engine: &Engine) -> u64 {
    // The standard hasher with its fixed keys: it gives the same value in each start of the same binary. A new binary
    // may compile anew.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn load(engine: &Engine, file: &Path, key: &[u8; KEY_BYTES]) -> Result<Component, Unusable> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Unusable::Absent),
        Err(error) => return Err(Unusable::Bad(format!("cannot be read: {error}"))),
    };
    let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(|| Unusable::Bad("is not a file of ours".into()))?;
    let (found, code) = rest.split_at_checked(MAC_BYTES).ok_or_else(|| Unusable::Bad("is cut short".into()))?;
    if mac(key, code) != *found {
        return Err(Unusable::Bad("was not written by this server, or is damaged".into()));
    }
    // SAFETY: wasmtime demands bytes that its own `precompile_component` made. The authentication code shows that this
    // server sealed these bytes after its child made them. The bytes are loaded from the memory that was checked.
    unsafe { Component::deserialize(engine, code) }.map_err(|e| Unusable::Bad(format!("cannot be loaded: {e:#}")))
}

fn compile(program: &Path, folder: &Path, file: &Path, key: &[u8; KEY_BYTES], component: &[u8]) -> Result<(), String> {
    let input = Temporary(folder.join(format!("compiling-{}.wasm", std::process::id())));
    let output = Temporary(folder.join(format!("compiling-{}.code", std::process::id())));
    let failed = |what: &str, path: &Path, e: std::io::Error| format!("{what} {}: {e}", path.display());
    write_whole(&input.0, &[component]).map_err(|e| failed("write", &input.0, e))?;
    let child = Command::new(program)
        .arg(SUBCOMMAND)
        .args([&input.0, &output.0])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("the compiling child process cannot be started: {e}"))?;
    wait(child)?;
    seal(file, key, &fs::read(&output.0).map_err(|e| failed("read", &output.0, e))?)
}

fn seal(file: &Path, key: &[u8; KEY_BYTES], code: &[u8]) -> Result<(), String> {
    write_whole(file, &[MAGIC, &mac(key, code), code]).map_err(|e| format!("write {}: {e}", file.display()))
}

/// A file that is removed when its owner is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // The file may not exist.
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "the child is a real process, and the thread has nothing else to do")]
fn wait(mut child: Child) -> Result<(), String> {
    let mut stderr = child.stderr.take();
    // A thread reads what the child writes, so that the child cannot block on a full pipe.
    let words = std::thread::Builder::new().name("compile-words".into()).spawn(move || {
        let mut words = Vec::new();
        if let Some(stderr) = &mut stderr {
            let _ = stderr.take(4096).read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).trim().to_string()
    });
    let words = words.map_err(|e| format!("start a thread that reads what the compiling child writes: {e}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| format!("wait for the compiling child process: {e}"))? {
            Some(status) => break status,
            None if begun.elapsed() > limits::COMPILE_WALL => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the component was not compiled within {} s", limits::COMPILE_WALL.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    use std::os::unix::process::ExitStatusExt;
    Err(match status.signal() {
        Some(signal) => format!(
            "the component needs more than {} s of CPU time or {} GiB of memory to be compiled, or crashed the compiler (signal {signal})",
            limits::COMPILE_CPU.as_secs(),
            limits::COMPILE_ADDRESS_SPACE_BYTES >> 30
        ),
        None if words.is_empty() => format!("the compiling child process ended with {status}"),
        None => contract::cut(&words, limits::REFUSAL_TEXT_BYTES_MAX).to_string(),
    })
}

/// The child's work: compiles the component in `input` into `output`. The parent reads the error.
pub(crate) fn child_main(input: &Path, output: &Path) -> Result<(), String> {
    limit_self();
    let component = fs::read(input).map_err(|e| format!("read {}: {e}", input.display()))?;
    let engine = engine::compiling_engine().map_err(|e| format!("start the compiler: {e:#}"))?;
    let code =
        engine.precompile_component(&component).map_err(|e| format!("the component cannot be compiled: {e:#}"))?;
    write_whole(output, &[&code]).map_err(|e| format!("write {}: {e}", output.display()))
}

/// Limits that cannot be set are no reason to stop: the parent bounds the time anyway.
fn limit_self() {
    use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
    let to = |bound| Rlimit { current: Some(bound), maximum: Some(bound) };
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = nice(10);
    let _ = setrlimit(Resource::As, to(limits::COMPILE_ADDRESS_SPACE_BYTES));
    let _ = setrlimit(Resource::Cpu, to(limits::COMPILE_CPU.as_secs()));
    let _ = setrlimit(Resource::Core, to(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn compiled_code_is_shared_within_a_process_and_found_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("code");
        let known = || Err("it is known".to_owned());
        for first in [true, false] {
            let one = Compiler::shared(&folder).unwrap();
            let engine = one.engine().unwrap();
            let made = one.component(&engine, "0", &|| if first { Ok(EMPTY.to_vec()) } else { known() });
            assert!(made.is_ok());
            let other = one.clone();
            assert!(Engine::same(&engine, &other.engine().unwrap()));
            assert!(other.component(&engine, "0", &known).is_ok());
            assert_eq!(other.component(&engine, "1", &known).err(), Some("it is known".into()));
        }
    }

    #[test]
    fn code_that_nobody_needs_goes_after_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = Compiler::child(folder.path()).unwrap();
        let folder = compiler.folder();
        let needed = file_name("a", compatibility(&compiler.engine().unwrap()));
        let other_release = file_name("a", 1);
        let names = [&*needed, &other_release, "b-0000000000000001.cwasm", "compiling-7.wasm", "calls-1"];
        #[expect(clippy::disallowed_methods, reason = "the files are real, and so is their age")]
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
        for name in names {
            let file = File::create(folder.join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        File::create(folder.join("c-new.cwasm")).unwrap();
        compiler.sweep(&BTreeSet::from(["a".to_owned()]));
        let left = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let expected = ["key", &needed, "calls-1", "c-new.cwasm"].map(str::to_owned);
        assert_eq!(left.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    }
}
