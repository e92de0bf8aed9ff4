//! What the operator of a scenario's server does: deploy plugins, switch them, call recipes.

use super::Deployment;
use super::clients::operator;
use super::script::Word;
use super::show;
use super::stage::{Holding, Stage};
use crate::limits;
use crate::model::control_plane::QUARANTINE;
use crate::model::{acl, path};
use crate::pipeline::{Ask, Submission};
use crate::plugin::manifest::{self, Manifest, Mode};
use crate::plugin::quarantine::Quarantine;
use crate::plugin::{MODULES, PLUGINS, check_deployment};
use crate::wire::request::{Create, CreateForm, Operation, Request, op};
use bytes::Bytes;

impl Stage {
    /// `deploy ...`, with the options of `wasmkeeper plugin deploy`.
    pub(super) fn deploy_line(&mut self, words: &[Word]) -> Result<(), String> {
        let mut line = Vec::new();
        for word in words {
            line.push(match (word.text.as_str(), &self.setup.component) {
                ("$component", Some(component)) => component.clone(),
                ("$component", None) => return Err("$component: pass --component FILE".into()),
                (text, _) => text.to_owned(),
            });
        }
        let deployment = (self.setup.prepare)(&line, &|name| self.manifest(name))?;
        let refused = self.deploy(deployment)?;
        self.said.extend(refused);
        Ok(())
    }

    /// Deploys a component and returns the lines that are printed: why the server refuses it, or nothing. The
    /// manifest's version is set here.
    pub(crate) fn deploy(&mut self, deployment: Deployment) -> Result<Vec<String>, String> {
        let Deployment { name, component: bytes, mut manifest } = deployment;
        let former = self.manifest(&name);
        let component = &manifest.component;
        let folder = path::join(MODULES, &component.sha256);
        let mut pieces = vec![(PLUGINS.to_owned(), &[][..]), (MODULES.to_owned(), &[]), (folder, &[])];
        for (chunk, bytes) in (0u32..).zip(bytes.chunks(limits::CHUNK_BYTES_MAX)) {
            pieces.push((component.chunk_path(chunk), bytes));
        }
        for (path, bytes) in pieces {
            if self.world.state.node(&path).is_none() {
                self.operate(None, create(&path, bytes))?;
            }
        }
        manifest.version = former.as_ref().map_or(1, |former| former.version + 1);
        self.bind(&name, &manifest, former.is_some())?;
        Ok(std::mem::take(&mut self.said))
    }

    pub(super) fn set_mode(&mut self, name: &str, mode: &str) -> Result<(), String> {
        let mut manifest = self.manifest(name).ok_or_else(|| format!("there is no plugin {name}"))?;
        let known = [Mode::Enforce, Mode::Audit, Mode::Off].into_iter().find(|known| known.name() == mode);
        manifest.mode = known.ok_or("enforce, audit or off is required")?;
        manifest.version += 1;
        self.bind(name, &manifest, true)
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), String> {
        let path = Some(path::join(PLUGINS, name));
        self.operate(Some(name), Request::Delete { path, version: -1 })
    }

    /// Puts the plugin under quarantine, as members do when its calls have failed too often.
    pub(super) fn quarantine(&mut self, name: &str) -> Result<(), String> {
        let version = self.manifest(name).ok_or_else(|| format!("there is no plugin {name}"))?.version;
        let data = Quarantine::now(version, "the scenario says so".into()).data();
        self.operate(Some(name), create(&quarantine_of(name), &data))
    }

    /// Ends the plugin's quarantine.
    pub(super) fn release(&mut self, name: &str) -> Result<(), String> {
        self.operate(Some(name), Request::Delete { path: Some(quarantine_of(name)), version: -1 })
    }

    fn manifest(&self, name: &str) -> Option<Manifest> {
        let node = self.world.state.node(&path::join(PLUGINS, name))?;
        manifest::parse(node.data().unwrap_or_default()).ok()
    }

    fn bind(&mut self, name: &str, manifest: &Manifest, known: bool) -> Result<(), String> {
        let data = serde_json::to_vec(manifest).map_err(|error| error.to_string())?;
        let path = path::join(PLUGINS, name);
        let (op, request) = match known {
            true => (op::SET_DATA, Request::SetData { path: Some(path), data: Some(data.into()), version: -1 }),
            false => (op::CREATE, create(&path, &data)),
        };
        self.operate(Some(name), Request::Multi(vec![Operation { op, request }]))
    }

    /// Runs a write of the operator's, which is applied at once. `about`: the plugin whose deployment it is; a refusal
    /// is printed as the plugin's answer.
    fn operate(&mut self, about: Option<&str>, request: Request) -> Result<(), String> {
        let refusal = check_deployment::concerns(&request)
            .then(|| check_deployment::prepare(&self.setup.plugins, &request, &self.world.state).err());
        self.xid += 1;
        let submission = Submission { caller: Some(operator()), xid: self.xid, ask: Ask::Request(request) };
        let refused = refusal.flatten();
        if let (Some(name), Some(refusal)) = (about, &refused) {
            self.say(name, &show::one_line(&refusal.text));
        }
        let held = std::mem::replace(&mut self.holding, Holding::No);
        self.apply_outstanding();
        self.evaluate(None, submission, refused);
        self.holding = held;
        Ok(())
    }

    /// A native call, by the superuser.
    pub(super) fn call(&mut self, plugin: &str, method: &str, payload: &str) {
        let ask = Ask::Call {
            plugin: plugin.to_owned(),
            method: method.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        self.xid += 1;
        let submission = Submission { caller: Some(operator()), xid: self.xid, ask };
        self.evaluate(Some(plugin.to_owned()), submission, None);
    }
}

fn create(path: &str, data: &[u8]) -> Request {
    let data = Some(Bytes::copy_from_slice(data));
    let list = Some(acl::open_unsafe().to_vec());
    Request::Create(Create { form: CreateForm::Create, path: Some(path.into()), data, acl: list, flags: 0, ttl_ms: 0 })
}

fn quarantine_of(plugin: &str) -> String {
    format!("{PLUGINS}/{plugin}/{QUARANTINE}")
}
