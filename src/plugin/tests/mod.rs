//! Tests of this room with real guests: deployed into a tree, checked, bound, asked, and contained.

mod deployment;
mod guests;
mod policies;
mod quarantine;
mod stand_ins;
mod validators;

use crate::limits;
use crate::model::txn::{Change, Outcome, Txn};
use crate::model::{ConnectionId, ErrorCode, Identity, Owner, Refusal, SessionId, Stat, Zxid, acl};
use crate::pipeline::{Blame, Call, Caller, Moment, NodeCopy, Plugins as _, ReadView, Schemes as _, Write};
use crate::plugin::check_deployment;
use crate::plugin::manifest::{self, Component};
use crate::plugin::marks::Marks;
use crate::plugin::signature::{Key, Signers};
use crate::plugin::tree::testing::MapTree;
use crate::plugin::tree::{Tree, sha256};
use crate::plugin::{Compiler, Judge, PLUGINS, Plugins, bundled};
use crate::wire::request::{Create, CreateForm, Operation, Request, op};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn naughty() -> &'static [u8] {
    include_bytes!(env!("WASMKEEPER_NAUGHTY"))
}

fn guard() -> &'static [u8] {
    bundled::find("guard").unwrap().component
}

/// The plugins of a server, and its tree.
struct Server {
    tree: MapTree,
    plugins: Arc<Plugins>,
    judge: Judge,
    zxid: i64,
}

impl Server {
    fn new() -> Server {
        Server::with(Plugins::new(true, Compiler::here()))
    }

    fn with(plugins: Arc<Plugins>) -> Server {
        Server { tree: MapTree::default(), judge: plugins.judge(), plugins, zxid: 0 }
    }

    fn upload(&mut self, component: &[u8]) -> Component {
        let pieces: Vec<&[u8]> = component.chunks(20_000).collect();
        let uploaded = Component {
            sha256: sha256(component),
            bytes: component.len() as u64,
            chunks: pieces.len() as u32,
            source: String::new(),
        };
        for (at, piece) in pieces.iter().enumerate() {
            self.tree.set(&uploaded.chunk_path(at as u32), piece, 0);
        }
        uploaded
    }

    /// Checks a deployment, applies it and makes the registry anew, as the leader does.
    fn deploy(&mut self, name: &str, component: &[u8], settings: Value, more: Value) -> Result<(), Refusal> {
        let component = self.upload(component);
        self.zxid += 1;
        let mut manifest = json!({
            "format": 1, "version": 1, "component": component, "paths": ["/services/**"], "settings": settings,
            "grants": [{ "path": "/services", "verbs": ["read"] }],
        });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
            if value.is_null() {
                manifest.as_object_mut().unwrap().remove(key);
            }
        }
        let data = Bytes::from(manifest.to_string());
        let path = format!("{PLUGINS}/{name}");
        let create = Create {
            form: CreateForm::Create,
            path: Some(path.clone()),
            data: Some(data.clone()),
            acl: None,
            flags: 0,
            ttl_ms: 0,
        };
        let request = Request::Multi(vec![Operation { op: op::CREATE, request: Request::Create(create) }]);
        assert!(check_deployment::concerns(&request));
        let admitted = check_deployment::prepare(&self.plugins, &request, &self.tree)?;
        assert_eq!(admitted.iter().map(|admitted| admitted.key.as_str()).collect::<Vec<_>>(), [name]);
        self.tree.set(&path, &data, self.zxid);
        self.plugins.refresh(&self.tree);
        Ok(())
    }

    fn counters(&self, name: &str) -> Value {
        let path = format!("{PLUGINS}/{name}/counters");
        serde_json::from_slice(&self.plugins.virtual_node(&path).unwrap()).unwrap()
    }

    fn status(&self, name: &str) -> Value {
        serde_json::from_slice(&self.plugins.virtual_node(&format!("{PLUGINS}/{name}/status")).unwrap()).unwrap()
    }

    fn create(&mut self, path: &str, data: &str) -> Result<(), Refusal> {
        let mut view = View::default();
        view.now.insert(path.into(), data.into());
        self.ask(&view, &[created(path)], "digest")
    }

    /// The blames from now on.
    fn listen(&self) -> Arc<parking_lot::Mutex<Vec<Blame>>> {
        let heard: Arc<parking_lot::Mutex<Vec<Blame>>> = Arc::default();
        let hearer = heard.clone();
        self.plugins.blame_to(Box::new(move |blame| hearer.lock().push(blame)));
        heard
    }

    fn ask(&mut self, view: &View, changes: &[Change], scheme: &str) -> Result<(), Refusal> {
        self.ask_as(view, changes, scheme, SessionId(0x10))
    }

    fn ask_as(&mut self, view: &View, changes: &[Change], scheme: &str, session: SessionId) -> Result<(), Refusal> {
        let caller = Caller {
            session,
            connection: ConnectionId { member: 1, run: 2, number: 3 },
            identities: Arc::from([Identity::new(scheme, "alice:hash")]),
            address: [127, 0, 0, 1].into(),
            port: 4,
            local: false,
        };
        let moment = Moment { wall_ms: 1, ensemble_ms: 2, seed: 3 };
        self.judge.validate(&Call::looking(view, Some(&caller), 5, Zxid(6), moment), changes).said
    }
}

/// The data of nodes, after the transaction and before it.
#[derive(Default)]
struct View {
    now: BTreeMap<String, String>,
    before: BTreeMap<String, String>,
}

fn copy(data: &str) -> NodeCopy {
    let stat = Stat { data_length: data.len() as i32, ..Stat::default() };
    NodeCopy { data: Some(Bytes::from(data.to_owned())), stat, acl: acl::open_unsafe() }
}

impl ReadView for View {
    fn node(&self, path: &str) -> Option<NodeCopy> {
        self.now.get(path).map(|data| copy(data))
    }
    fn original(&self, path: &str) -> Option<NodeCopy> {
        self.before.get(path).map(|data| copy(data))
    }
    fn children(&self, _: &str, _: Option<&str>, _: usize) -> Vec<String> {
        Vec::new()
    }
    fn ephemerals(&self, _: SessionId, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

fn created(path: &str) -> Change {
    Change::Create {
        path: path.into(),
        data: None,
        acl: acl::open_unsafe(),
        owner: Owner::PERSISTENT,
        parent_cversion: 1,
    }
}

fn set(path: &str) -> Change {
    Change::SetData { path: path.into(), data: None, version: 1 }
}

fn refused(result: Result<(), Refusal>) -> (ErrorCode, String) {
    let refusal = result.expect_err("refused");
    (refusal.code, refusal.text)
}

/// The text of the refusal of a create.
fn said_of(server: &mut Server, path: &str) -> String {
    refused(server.create(path, "{}")).1
}
