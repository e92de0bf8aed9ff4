//! Builds the bundled plugins in `plugins/` and puts them into the binary.
//!
//! Each plugin is compiled for `wasm32-unknown-unknown`, a target without any imports but those of `wit/plugin.wit`,
//! and is then made a component. This script leaves:
//!
//! - `$OUT_DIR/bundled.rs`, the list of bundled plugins that `src/plugin/code/bundled.rs` includes;
//! - `WASMKEEPER_NAUGHTY`, `WASMKEEPER_HOMESICK` and so on, the paths of the plugins that only tests use;
//! - `WASMKEEPER_BUILT`, the date and time that the four letter words `srvr`, `stat`, `mntr` and `envi` show.
//!
//! If the compiler lacks the target, this script has rustup add it. That happens late in a first build (measured on two
//! cores: after six minutes). Cargo compiles the crates with the most dependents first, and only one crate waits for
//! this script. No earlier place in the build knows which compiler cargo uses. So only a machine without rustup waits
//! six minutes and then fails; the next build does not compile the finished crates again.
//!
//! Cargo runs this script again only if a plugin, the contract or this file changes.

#![expect(clippy::disallowed_methods, reason = "a build script runs on real time, and exits")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{SystemTime, UNIX_EPOCH};
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";

/// The plugins that `bundled:NAME` finds.
const BUNDLED: &[&str] = &["guard", "json-schema", "jwt", "leader", "lock", "queue", "rbac", "time-window"];

/// The plugins that only tests use. They are not part of the binary.
const FOR_TESTS: &[&str] = &["naughty", "liar", "homesick", "warden", "counts"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wit");
    // The folder as a whole would also count changes of `plugins/target`.
    for part in ["Cargo.toml", "Cargo.lock", "sdk"].iter().chain(BUNDLED).chain(FOR_TESTS) {
        println!("cargo::rerun-if-changed=plugins/{part}");
    }
    println!("cargo::rerun-if-changed=src/cli/plugin/templates/controller");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=WASMKEEPER_BUILT={}", build_time());
    if let Err(sentence) = build() {
        println!("cargo::error={}", sentence.replace('\n', " "));
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    ensure_target()?;
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

/// The time of this run in the form of ZooKeeper's version line, such as `2026-11-30 21:50 UTC`. `SOURCE_DATE_EPOCH`
/// takes the clock's place if it is set, so that a build can be repeated bit by bit.
fn build_time() -> String {
    let fixed = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = fixed.unwrap_or_else(now);
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60)
}

/// Year, month and day in the Gregorian calendar, `days` days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

/// Makes sure that the compiler has the standard library of [`TARGET`]. If that is missing, rustup adds it.
fn ensure_target() -> Result<(), String> {
    if has_target()? {
        return Ok(());
    }
    // rustup sets RUSTUP_TOOLCHAIN for cargo, and cargo passes it on to this script. So `rustup target add` adds the
    // target to the toolchain that builds the server.
    let Ok(output) = Command::new("rustup").args(["target", "add", TARGET]).output() else {
        return Err(format!(
            "the bundled plugins need Rust's target {TARGET}: install rustup (https://rustup.rs), or the standard library \
             for that target from where your compiler comes from"
        ));
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "the bundled plugins need Rust's target {TARGET}, and `rustup target add {TARGET}` failed: {}",
            said.trim()
        ));
    }
    if has_target()? {
        println!("cargo::warning=Rust's target {TARGET} was missing; `rustup target add {TARGET}` has added it");
        return Ok(());
    }
    Err(format!(
        "the bundled plugins need Rust's target {TARGET}: rustup has it, but this compiler is not rustup's; build with \
         rustup's cargo, or install the target's standard library for this compiler"
    ))
}

/// Whether the compiler has the target's standard library: whether the folder exists in which it would lie.
fn has_target() -> Result<bool, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let output = output.map_err(|e| format!("run rustc: {e}"))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(libdir.trim()).is_dir())
}

fn compile(workspace: &Path, target: &Path) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--release", "--locked", "--lib", "--target", TARGET]);
    for name in BUNDLED.iter().chain(FOR_TESTS) {
        command.args(["--package", name]);
    }
    command.arg("--target-dir").arg(target);
    // The outer build's flags, wrappers (clippy is one) and profiles are not meant for the plugins. An empty list of
    // flags also overrides the flags of configuration files; no list at all would not.
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
    let output = command.output().map_err(|e| format!("run cargo for the plugins in plugins/: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err("the plugins in plugins/ do not build: cargo's messages are above".into())
}

fn componentize(target: &Path, out: &Path, name: &str) -> Result<PathBuf, String> {
    // In the names of files, cargo writes `_` for `-`.
    let module = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = fs::read(&module).map_err(|e| format!("read {}: {e}", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("make a component of plugin {name}: {e:#}"))?;
    let path = out.join(format!("{name}.wasm"));
    fs::write(&path, component).map_err(|e| format!("write {}: {e}", path.display()))?;
    Ok(path)
}
