//! Builds the bundled guests in `plugins/` and puts them into the binary.
//!
//! Each guest is compiled for `wasm32-unknown-unknown`, which has no imports but the contract's, and made a component.
//! The result is `$OUT_DIR/bundled.rs`, which `src/plugin/code/bundled.rs` includes, and `WASMKEEPER_NAUGHTY` and
//! `WASMKEEPER_HOMESICK`, the paths of guests for tests. Runs only when a guest, the contract or this file changes.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";

/// Guests that `bundled:NAME` finds.
const BUNDLED: &[&str] = &["guard", "json-schema", "jwt", "leader", "lock", "queue", "rbac", "time-window"];

/// Guests for tests: built, but not part of the binary.
const FOR_TESTS: &[&str] = &["naughty", "liar", "homesick", "warden", "counts"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wit");
    // Not the folder as a whole: a `target` in it would count as a change.
    for part in ["Cargo.toml", "Cargo.lock", "sdk"].iter().chain(BUNDLED).chain(FOR_TESTS) {
        println!("cargo::rerun-if-changed=plugins/{part}");
    }
    println!("cargo::rerun-if-changed=src/cli/plugin/templates/controller");
    if let Err(sentence) = build() {
        println!("cargo::error={}", sentence.replace('\n', " "));
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    check_target()?;
    let target = out.join("guests");
    compile(&root.join("plugins"), &target)?;

    let mut list = String::from("pub static BUNDLED: &[Bundled] = &[\n");
    for name in BUNDLED {
        let component = componentize(&target, &out, name)?;
        writeln!(
            list,
            "    Bundled {{ name: {name:?}, component: include_bytes!({:?}) }},",
            component.display().to_string()
        )
        .map_err(|e| e.to_string())?;
    }
    list.push_str("];\n");
    fs::write(out.join("bundled.rs"), list).map_err(|e| format!("write bundled.rs: {e}"))?;
    for name in FOR_TESTS {
        let component = componentize(&target, &out, name)?;
        println!("cargo::rustc-env=WASMKEEPER_{}={}", name.to_uppercase(), component.display());
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

/// Asks the compiler where the target's standard library would be.
fn check_target() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let output = output.map_err(|e| format!("run rustc: {e}"))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libdir.trim()).is_dir() {
        return Ok(());
    }
    Err(format!("the bundled plugins need Rust's target {TARGET}: add it with `rustup target add {TARGET}`"))
}

fn compile(workspace: &Path, target: &Path) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--release", "--locked", "--lib", "--target", TARGET]);
    for name in BUNDLED.iter().chain(FOR_TESTS) {
        command.args(["--package", name]);
    }
    command.arg("--target-dir").arg(target);
    // What the outer build says about flags, wrappers (clippy is one) and profiles is not meant for the guests. An empty
    // list of flags, other than none, also keeps out those of configuration files.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_TARGET_") || name.starts_with("CARGO_BUILD_") {
            command.env_remove(name);
        }
    }
    for name in
        ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "TARGET", "PROFILE"]
    {
        command.env_remove(name);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", "");
    let output = command.output().map_err(|e| format!("run cargo for the guests in plugins/: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err("the guests in plugins/ do not build: cargo's messages are above".into())
}

fn componentize(target: &Path, out: &Path, name: &str) -> Result<PathBuf, String> {
    // Cargo names files as Rust names crates.
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = fs::read(&module).map_err(|e| format!("read {}: {e}", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("make a component of guest {name}: {e:#}"))?;
    let path = out.join(format!("{name}.wasm"));
    fs::write(&path, component).map_err(|e| format!("write {}: {e}", path.display()))?;
    Ok(path)
}
