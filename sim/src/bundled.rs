//! The bundled plugins that runs deploy: their machine code, made once for all members of a process, and their manifests.

use crate::places::{FAULTY, FORLORN, GUARDED, LOCKS, POLICED, QUEUES, ROLES};
use bytes::Bytes;
use serde_json::{Value, json};
use std::thread;
use wasmkeeper::limits::CHUNK_BYTES_MAX;
use wasmkeeper::plugin::manifest::{self, Component, Kind, Limits, Manifest, Mode, OnFailure, Require};
use wasmkeeper::plugin::{Compiler, bundled, component, grant, tree};

/// The name of the guard that has too little fuel for more than a few hundred bytes of JSON.
pub const WEAK: &str = "weak";
const WEAK_FUEL: u64 = 40_000;

/// The name of the policy that has too little fuel for any question.
pub const FRAIL: &str = "frail";
const FRAIL_FUEL: u64 = 5_000;

/// Where machine code is kept for later processes, beside the program.
const FOLDER: &str = "wasmkeeper-sim-code";

/// One of them.
pub struct Plugin {
    pub name: &'static str,
    kind: Kind,
    place: &'static str,
    bytes: &'static [u8],
    component: Component,
    limits: Limits,
}

impl Plugin {
    fn new(name: &'static str, kind: Kind, place: &'static str) -> Plugin {
        Plugin::of(name, name, kind, place)
    }

    /// `component`: what it is bundled as.
    fn of(name: &'static str, component: &str, kind: Kind, place: &'static str) -> Plugin {
        let bytes = bundled::find(component).expect("it is bundled").component;
        let component = Component {
            sha256: tree::sha256(bytes),
            bytes: bytes.len() as u64,
            chunks: bytes.len().div_ceil(CHUNK_BYTES_MAX) as u32,
            source: format!("bundled:{component}"),
        };
        Plugin { name, kind, place, bytes, component, limits: Limits::default() }
    }

    pub fn lock() -> Plugin {
        Plugin::new("lock", Kind::Recipe, LOCKS)
    }

    pub fn queue() -> Plugin {
        Plugin::new("queue", Kind::Recipe, QUEUES)
    }

    pub fn guard() -> Plugin {
        Plugin::new("guard", Kind::Validator, GUARDED)
    }

    pub fn rbac() -> Plugin {
        Plugin::new("rbac", Kind::Policy, POLICED)
    }

    pub fn weak() -> Plugin {
        let limits = Limits { fuel: Some(WEAK_FUEL), ..Limits::default() };
        Plugin { limits, ..Plugin::of(WEAK, "guard", Kind::Validator, FAULTY) }
    }

    pub fn frail() -> Plugin {
        let limits = Limits { fuel: Some(FRAIL_FUEL), ..Limits::default() };
        Plugin { limits, ..Plugin::of(FRAIL, "rbac", Kind::Policy, FORLORN) }
    }

    /// The node of its manifest.
    pub fn node(&self) -> String {
        format!("{}/{}", wasmkeeper::plugin::PLUGINS, self.name)
    }

    /// The node of the manifest on trial.
    pub fn trial_node(&self) -> String {
        format!("{}/{}", self.node(), wasmkeeper::model::control_plane::CANARY)
    }

    /// The node of its quarantine.
    pub fn quarantine_node(&self) -> String {
        format!("{}/quarantine", self.node())
    }

    /// The nodes of its component, parents first.
    pub fn pieces(&self) -> Vec<(String, Bytes)> {
        let folder = format!("{}/{}", wasmkeeper::plugin::MODULES, self.component.sha256);
        let pieces = (0..).zip(self.bytes.chunks(CHUNK_BYTES_MAX));
        let pieces = pieces.map(|(number, bytes)| (self.component.chunk_path(number), Bytes::from_static(bytes)));
        [(folder, Bytes::new())].into_iter().chain(pieces).collect()
    }

    /// As `wasmkeeper plugin deploy` would write it.
    pub fn manifest(&self, version: u32, settings: Value) -> Bytes {
        data(&self.bound(version, settings))
    }

    /// The same for a version on trial at some nodes: in the place of the one in force, or beside it.
    pub fn trial(&self, version: u32, settings: Value, canary: Vec<String>, mode: Mode) -> Bytes {
        data(&Manifest { canary, mode, ..self.bound(version, settings) })
    }

    fn bound(&self, version: u32, settings: Value) -> Manifest {
        let inspected = component::inspect(self.bytes).expect("what is bundled is a plugin");
        let is_recipe = self.kind == Kind::Recipe;
        let below = format!("{}/*", self.place);
        let paths = match self.kind {
            Kind::Recipe => Vec::new(),
            // Who may list the children is the policy's to say, too.
            Kind::Policy => vec![self.place.to_owned(), below],
            _ => vec![below],
        };
        Manifest {
            format: 1,
            version,
            component: self.component.clone(),
            kind: self.kind,
            paths,
            mount: is_recipe.then(|| self.place.to_owned()),
            scheme: None,
            on: Vec::new(),
            require: Require::None,
            mode: Mode::Enforce,
            on_failure: OnFailure::Reject,
            canary: Vec::new(),
            signature: None,
            settings,
            grants: grant::expand(&inspected.section.grants, &[self.place]),
            limits: self.limits,
        }
    }
}

fn data(manifest: &Manifest) -> Bytes {
    serde_json::to_vec(manifest).expect("a manifest is JSON").into()
}

/// What brings a version on trial into force for all paths.
pub fn promoted(trial: &[u8]) -> Option<Bytes> {
    let trial = manifest::parse(trial).ok()?;
    Some(data(&Manifest { canary: Vec::new(), mode: Mode::Enforce, ..trial }))
}

/// Settings that differ, of that plugin; `number` chooses.
pub fn settings(name: &str, number: u64) -> Value {
    match name {
        "lock" => json!({ "wait-ms": 3_000 + number % 4 * 1_000, "lock-delay-ms": number % 3 * 150 }),
        "queue" => json!({ "visibility-ms": 1_500 + number % 4 * 1_000, "attempts-max": 2 + number % 3 }),
        WEAK => json!({ "require_json": ["a"], "max_bytes": 5_000 + number }),
        "rbac" | FRAIL => {
            let roles = ROLES[(number % 2) as usize];
            json!({ "roles": roles, "otherwise": if number % 7 == 6 { "abstain" } else { "deny" } })
        }
        _ => json!({ "max_bytes": 60 + number % 5 * 40 }),
    }
}

/// What gives all members of this process their machine code.
///
/// On a thread of its own: what compiling draws of chance must make no difference to the run that comes behind it.
pub fn compiler() -> Result<Compiler, String> {
    let made = || {
        let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
        let compiler = Compiler::shared(&program.with_file_name(FOLDER))?;
        let engine = compiler.engine().map_err(|error| format!("start the WebAssembly engine: {error:#}"))?;
        for plugin in [Plugin::lock(), Plugin::queue(), Plugin::guard(), Plugin::rbac()] {
            compiler.component(&engine, &plugin.component.sha256, &|| Ok(plugin.bytes.to_vec()))?;
        }
        Ok(compiler)
    };
    thread::scope(|scope| scope.spawn(made).join()).unwrap_or_else(|_| Err("compiling the plugins panicked".into()))
}
