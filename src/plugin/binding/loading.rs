//! Programs of components: compiled before a deployment, or loaded in the background after a start, and kept while they
//! are needed.

use super::plugins::Plugins;
use crate::environment::Instant;
use crate::plugin::code::component;
use crate::plugin::guest::engine;
use crate::plugin::guest::host::HostState;
use crate::plugin::guest::program::Program;
use crate::plugin::guest::stand_ins;
use crate::plugin::manifest::tree;
use crate::plugin::manifest::{Code, Manifest};
use std::sync::{Arc, OnceLock};
use wasmtime::Engine;
use wasmtime::component::Linker;

/// The place of a program that is loaded or will be.
#[derive(Default)]
pub(crate) struct Slot(OnceLock<Result<Arc<Program>, String>>);

impl Slot {
    /// None while the program is being made. An error says why it cannot be made.
    pub(crate) fn get(&self) -> Option<&Result<Arc<Program>, String>> {
        self.0.get()
    }
}

pub(super) struct Running {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<HostState>,
}

impl Plugins {
    pub(super) fn slot(&self, code: &str) -> Arc<Slot> {
        let mut programs = self.programs.lock();
        let (slot, asked) = programs.entry(code.into()).or_insert_with(|| (Arc::default(), Instant::now()));
        *asked = Instant::now();
        slot.clone()
    }

    /// As `slot`, but replaces a slot whose program failed. Bindings keep the failed slot until the registry is made
    /// anew.
    pub(super) fn slot_to_fill(&self, code: &str) -> Arc<Slot> {
        let slot = self.slot(code);
        if !matches!(slot.get(), Some(Err(_))) {
            return slot;
        }
        let fresh = Arc::new(Slot::default());
        self.programs.lock().insert(code.into(), (fresh.clone(), Instant::now()));
        fresh
    }

    /// Compiles or loads a program in the background: where `load_by` says, or on a thread of its own.
    pub(super) fn load_behind(self: &Arc<Plugins>, name: &str, wanted: &Manifest, slot: Arc<Slot>) {
        let (plugins, name, wanted) = (self.clone(), name.to_string(), wanted.clone());
        let load = move || {
            let read = |path: &str| plugins.read.get().and_then(|read| read(path));
            let _one_at_a_time = plugins.compiling.lock();
            match plugins.fill(&slot, wanted.code(), &|| tree::read_component(&wanted.component, &read)) {
                Ok(_) => tracing::info!("plugin {name} is ready"),
                Err(error) => {
                    tracing::error!("plugin {name} cannot run here and answers by its failure policy: {error}")
                }
            }
        };
        if let Some(work_aside) = self.work_aside.get() {
            return work_aside(Box::new(load));
        }
        let spawned = std::thread::Builder::new().name("plugin-loader".into()).spawn(load);
        if let Err(error) = spawned {
            tracing::error!("start a thread to load a plugin: {error}");
        }
    }

    /// The program of a component, which is made if it is not there. This takes as long as compiling. The error is a
    /// sentence, for example that no trusted signer has signed the component.
    pub(crate) fn load(
        &self,
        wanted: Code<'_>,
        bytes: &dyn Fn() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Program>, String> {
        if let Some(Ok(program)) = self.slot(&wanted.key()).get() {
            return Ok(program.clone());
        }
        let _one_at_a_time = self.compiling.lock();
        // An earlier attempt may have failed because pieces were missing. They may be there now.
        self.fill(&self.slot_to_fill(&wanted.key()), wanted, bytes)
    }

    /// Makes the program, if it is not there. The caller holds `compiling`.
    fn fill(
        &self,
        slot: &Slot,
        wanted: Code<'_>,
        bytes: &dyn Fn() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Program>, String> {
        assert!(self.compiling.is_locked(), "two components are compiled at once");
        slot.0.get_or_init(|| self.make(wanted, bytes)).clone()
    }

    fn make(&self, wanted: Code<'_>, bytes: &dyn Fn() -> Result<Vec<u8>, String>) -> Result<Arc<Program>, String> {
        let running = self.running()?;
        let component_bytes = bytes()?;
        self.signers.judge(wanted.signature, &component_bytes)?;
        let inspected = component::inspect(&component_bytes)?;
        let sha256 = &wanted.component.sha256;
        let compiled = self.compiler.component(&running.engine, sha256, &|| Ok(component_bytes.clone()))?;
        let program = stand_ins::instantiate_pre(&running.linker, &compiled)
            .and_then(|prepared| Program::new(&running.engine, prepared, &inspected.kinds, inspected.section))
            .map_err(|error| format!("the component does not fit wit/plugin.wit of this server: {error:#}"))?;
        Ok(Arc::new(program))
    }

    fn running(&self) -> Result<&Running, String> {
        let running = self.engine.get_or_init(|| {
            self.supervision.marks.watch_signals();
            let failed = |error| format!("the WebAssembly engine cannot start: {error:#}");
            let engine = self.compiler.engine().map_err(failed)?;
            let linker = engine::linker(&engine).map_err(failed)?;
            Ok(Running { engine, linker })
        });
        running.as_ref().map_err(String::clone)
    }
}
