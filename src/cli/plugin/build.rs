//! `plugin build`: makes a component that can be deployed, from a project or from what another toolchain has built.
//!
//! The languages' own tools compile. This command finds them, makes a component of a core module, puts the manifest
//! into the component, and says what a server would refuse.

use super::inspect::Report;
use super::new::Language;
use super::source::component_of;
use crate::plugin::manifest::{self, Limits};
use crate::plugin::{binding, component};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rust's target without imports.
const TARGET: &str = "wasm32-unknown-unknown";

#[derive(Args, Debug)]
pub(super) struct Build {
    /// The project's folder; or a .wasm file, component or core module, that another toolchain has built
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    from: PathBuf,

    /// The component to write. Default: NAME.wasm in the folder, by the name in manifest.json
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Rust's target: wasm32-unknown-unknown, or wasm32-wasip2 for crates that need a bit of WASI
    #[arg(long, default_value = TARGET)]
    target: String,
}

pub(super) fn run(build: &Build) -> anyhow::Result<()> {
    let is_folder = build.from.is_dir();
    let folder = match build.from.parent() {
        _ if is_folder => build.from.clone(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let manifest = Manifest::read(&folder)?;
    let built = if is_folder {
        let language = language(&folder)?;
        match language {
            Language::Rust => cargo(&folder, &build.target)?,
            Language::Js | Language::Python => {
                let manifest = manifest.as_ref().with_context(|| {
                    format!("{} is missing: it says which world to build for", folder.join(MANIFEST).display())
                })?;
                componentize(language, &folder, manifest)?
            }
        }
    } else {
        fs::read(&build.from).with_context(|| format!("read {}", build.from.display()))?
    };
    let mut made = component_of(built, &build.from.display().to_string())?;
    let checked = |made: &[u8]| component::inspect(made).map_err(|sentence| anyhow!(sentence));
    if !checked(&made)?.described {
        match &manifest {
            Some(manifest) => made = component::with_manifest(made, &manifest.bytes),
            None => eprintln!(
                "{} is missing, so the plugin has no name, and no grants to look at anything",
                folder.join(MANIFEST).display()
            ),
        }
    }
    let inspected = checked(&made)?;
    let out = match &build.out {
        Some(out) => out.clone(),
        None if inspected.section.name.is_empty() => bail!("the plugin has no name: say what to write with --out FILE"),
        None if folder == Path::new(".") => PathBuf::from(format!("{}.wasm", inspected.section.name)),
        None => folder.join(format!("{}.wasm", inspected.section.name)),
    };
    if !is_folder && fs::canonicalize(&out).ok() == fs::canonicalize(&build.from).ok() {
        bail!("{} would be overwritten: say what to write with --out FILE", out.display());
    }
    fs::write(&out, &made).with_context(|| format!("write {}", out.display()))?;
    let budget = binding::budget(&Limits::default(), &inspected.section);
    if let Some(refusal) = component::memory_refusal(inspected.memory_bytes, budget.memory_bytes) {
        eprintln!("it will not start by default: {refusal}");
    }
    println!("{}", Report::new(&out.display().to_string(), &made, inspected).text());
    Ok(())
}

const MANIFEST: &str = "manifest.json";

/// The project's `manifest.json`.
struct Manifest {
    bytes: Vec<u8>,
    /// Which world of `wit` the component is built for.
    world: Option<String>,
}

impl Manifest {
    /// Reads the project's manifest. None: there is no such file.
    fn read(folder: &Path) -> anyhow::Result<Option<Manifest>> {
        let path = folder.join(MANIFEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        manifest::parse_section(&bytes).map_err(|sentence| anyhow!("{}: {sentence}", path.display()))?;
        let value: Value = serde_json::from_slice(&bytes)?;
        let world = value["world"].as_str().map(str::to_owned);
        Ok(Some(Manifest { bytes, world }))
    }
}

fn language(folder: &Path) -> anyhow::Result<Language> {
    let has = |file: &str| folder.join(file).is_file();
    Ok(if has("Cargo.toml") {
        Language::Rust
    } else if has("package.json") {
        Language::Js
    } else if has("plugin.py") {
        Language::Python
    } else {
        bail!(
            "{} has no Cargo.toml (Rust), no package.json (JavaScript) and no plugin.py (Python): `wasmkeeper plugin new` makes a project, and \
             `wasmkeeper plugin build FILE.wasm` takes what another toolchain has built",
            folder.display()
        )
    })
}

/// Builds a crate and returns the bytes of its `cdylib`.
fn cargo(folder: &Path, target: &str) -> anyhow::Result<Vec<u8>> {
    check_target(target)?;
    let crate_file = fs::canonicalize(folder.join("Cargo.toml"))?;
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--lib", "--target", target, "--message-format", "json-render-diagnostics"]);
    let printed = run_tool(command.current_dir(folder).stdout(Stdio::piped()), CARGO_MISSING)?;
    let artifacts = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == crate_file)
    });
    let files: Vec<Value> =
        artifacts.filter_map(|message| message["filenames"].as_array().cloned()).flatten().collect();
    let module = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"));
    let module = module.with_context(|| {
        format!(
            "cargo has built no .wasm file: {} needs `[lib]` with `crate-type = [\"cdylib\"]`",
            crate_file.display()
        )
    })?;
    fs::read(module).with_context(|| format!("read {module}"))
}

const CARGO_MISSING: &str = "cargo is not installed: https://rustup.rs says how to install Rust";

/// Fails if the target's standard library is not installed. Asks the compiler where that library would be.
fn check_target(target: &str) -> anyhow::Result<()> {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", target]).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = command.output().map_err(|_| anyhow!(CARGO_MISSING))?;
    let libdir = String::from_utf8_lossy(&output.stdout);
    let there = output.status.success() && Path::new(libdir.trim()).is_dir();
    if there { Ok(()) } else { bail!("Rust's target {target} is not installed: `rustup target add {target}` does it") }
}

/// Runs the language's tool, which makes a component of a project in JavaScript or Python.
fn componentize(language: Language, folder: &Path, manifest: &Manifest) -> anyhow::Result<Vec<u8>> {
    let world = manifest.world.as_deref();
    let world =
        world.with_context(|| format!("{MANIFEST}: world: a world of wit/ is required, such as \"validator\""))?;
    let folder = fs::canonicalize(folder)?;
    // In the project's folder: the system's folder for temporary files may be small.
    let out = folder.join(format!(".building-{}.wasm", std::process::id()));
    let _removed = Removed(&out);
    let tool = |name: &str, near: &str| {
        let near = folder.ancestors().map(|folder| folder.join(near).join(name)).find(|path| path.is_file());
        Command::new(near.unwrap_or_else(|| name.into()))
    };
    let (name, mut command) = match language {
        Language::Js => {
            let mut command = tool("componentize-js", "node_modules/.bin");
            // A plugin cannot use WASI's HTTP, so the engine's support for it is left out.
            command.args([&*main_of(&folder)?, "--wit", "wit", "--world-name", world]);
            command.args(["--disable", "http", "fetch-event", "--out"]).arg(&out);
            ("componentize-js", command)
        }
        _ => {
            let mut command = tool("componentize-py", ".venv/bin");
            command
                .args(["--quiet", "--wit-path", "wit", "--world", world, "componentize", "plugin", "--output"])
                .arg(&out);
            let packages = folder.join(".venv");
            if packages.is_dir() {
                command.env("VIRTUAL_ENV", packages);
            }
            ("componentize-py", command)
        }
    };
    let missing = format!("{name} is not installed: `{}` in {} does it", language.tools(), folder.display());
    run_tool(command.current_dir(&folder), &missing)?;
    fs::read(&out).with_context(|| format!("{name} has written no component: read {}", out.display()))
}

/// The main module, as `package.json` names it.
fn main_of(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("package.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let package: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(package["main"].as_str().unwrap_or("plugin.js").to_owned())
}

/// Runs a tool to its end and returns what it printed to a pipe. The tool's messages go to the terminal.
fn run_tool(command: &mut Command, missing: &str) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let child = command.stdin(Stdio::null()).spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("{missing}"),
        _ => anyhow!("run {program}: {error}"),
    })?;
    let output = child.wait_with_output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({}); its messages are above", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file that is removed when this value is dropped, if the file is there.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}
