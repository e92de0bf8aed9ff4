//! The bundled plugins that runs deploy: their manifests, and their machine code, which all members of a process share.

use crate::places::{FRAIL_POLICED, GUARDED, LOCKS, POLICED, QUEUES, ROLES, WEAK_GUARDED};
use bytes::Bytes;
use serde_json::{Value, json};
use std::thread;
use wasmkeeper::limits::CHUNK_BYTES_MAX;
use wasmkeeper::plugin::manifest::{self, Component, Kind, Limits, Manifest, Mode, OnFailure, Require};
use wasmkeeper::plugin::{Compiler, bundled, component, grant, tree};

/// The name of the guard that has too little fuel for more than a few hundred bytes of JSON.
pub(crate) const WEAK: &str = "weak";
const WEAK_FUEL: u64 = 40_000;

/// The name of the policy that has too little fuel for any question.
pub(crate) const FRAIL: &str = "frail";
const FRAIL_FUEL: u64 = 5_000;

/// The folder beside the program that keeps machine code for later processes.
const FOLDER: &str = "wasmkeeper-sim-code";

/// A bundled plugin under the name that runs deploy it with.
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
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

    /// `component`: the name of the bundled plugin.
    fn of(name: &'static str, component: &str, kind: Kind, place: &'static str) -> Plugin {
        let bytes = bundled::find(component).expect("the plugin is bundled").component;
        let component = Component {
            sha256: tree::sha256(bytes),
            bytes: bytes.len() as u64,
            chunks: bytes.len().div_ceil(CHUNK_BYTES_MAX) as u32,
            source: format!("bundled:{component}"),
        };
        Plugin { name, kind, place, bytes, component, limits: Limits::default() }
    }

    pub(crate) fn lock() -> Plugin {
        Plugin::new("lock", Kind::Recipe, LOCKS)
    }

    pub(crate) fn queue() -> Plugin {
        Plugin::new("queue", Kind::Recipe, QUEUES)
    }

    pub(crate) fn guard() -> Plugin {
        Plugin::new("guard", Kind::Validator, GUARDED)
    }

    pub(crate) fn rbac() -> Plugin {
        Plugin::new("rbac", Kind::Policy, POLICED)
    }

    pub(crate) fn weak() -> Plugin {
        let limits = Limits { fuel: Some(WEAK_FUEL), ..Limits::default() };
        Plugin { limits, ..Plugin::of(WEAK, "guard", Kind::Validator, WEAK_GUARDED) }
    }

    pub(crate) fn frail() -> Plugin {
        let limits = Limits { fuel: Some(FRAIL_FUEL), ..Limits::default() };
        Plugin { limits, ..Plugin::of(FRAIL, "rbac", Kind::Policy, FRAIL_POLICED) }
    }

    /// The znode of the plugin's manifest.
    pub(crate) fn node(&self) -> String {
        format!("{}/{}", wasmkeeper::plugin::PLUGINS, self.name)
    }

    /// The znode of the manifest on trial.
    pub(crate) fn trial_node(&self) -> String {
        format!("{}/{}", self.node(), wasmkeeper::model::control_plane::CANARY)
    }

    /// The znode that exists while the plugin is under quarantine.
    pub(crate) fn quarantine_node(&self) -> String {
        format!("{}/quarantine", self.node())
    }

    /// The znodes of the plugin's component, parents first.
    pub(crate) fn pieces(&self) -> Vec<(String, Bytes)> {
        let folder = format!("{}/{}", wasmkeeper::plugin::MODULES, self.component.sha256);
        let pieces = (0..).zip(self.bytes.chunks(CHUNK_BYTES_MAX));
        let pieces = pieces.map(|(number, bytes)| (self.component.chunk_path(number), Bytes::from_static(bytes)));
        [(folder, Bytes::new())].into_iter().chain(pieces).collect()
    }

    /// The manifest as `wasmkeeper plugin deploy` would write it.
    pub(crate) fn manifest(&self, version: u32, settings: Value) -> Bytes {
        data(&self.bound(version, settings))
    }

    /// The manifest of a version on trial at the znodes `canary`. In the mode `Enforce` that version is asked there in
    /// place of the version in force, and in the mode `Audit` beside it.
    pub(crate) fn trial(&self, version: u32, settings: Value, canary: Vec<String>, mode: Mode) -> Bytes {
        data(&Manifest { canary, mode, ..self.bound(version, settings) })
    }

    fn bound(&self, version: u32, settings: Value) -> Manifest {
        let inspected = component::inspect(self.bytes).expect("a bundled component is a plugin");
        let is_recipe = self.kind == Kind::Recipe;
        let below = format!("{}/*", self.place);
        let paths = match self.kind {
            Kind::Recipe => Vec::new(),
            // The policy also decides who may list the children of its own root.
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

/// The manifest that brings a version on trial into force for all paths.
pub(crate) fn promoted(trial: &[u8]) -> Option<Bytes> {
    let trial = manifest::parse(trial).ok()?;
    Some(data(&Manifest { canary: Vec::new(), mode: Mode::Enforce, ..trial }))
}

/// Settings for the plugin `name`. `number` chooses among several.
pub(crate) fn settings(name: &str, number: u64) -> Value {
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

/// The compiler that gives machine code to all members of this process.
///
/// Compiling draws random numbers. It runs on a thread of its own, so that these draws do not change the run.
pub(crate) fn compiler() -> Result<Compiler, String> {
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
