//! The functions that guests may call: the imported interfaces of `wit/plugin.wit`.
//!
//! Every function is bounded, because fuel and fuse cannot interrupt the host. Every function that takes a path checks
//! the grants of the binding first.

use super::host::HostState;
use super::looks::Look;
use crate::environment::Instant;
use crate::limits;
use crate::model::{Acl, ErrorCode, Refusal, SessionId, acl};
use crate::pipeline::{NodeCopy, ReadView, TreeWriter, Versions};
use crate::plugin::contract::{self, Rejection, TransactionHandle, ViewHandle, logging, reading, types, writing};
use crate::plugin::manifest::grant::GrantVerb;
use crate::plugin::report::log::Level;
use std::borrow::Cow;
use wasmtime::component::Resource;

impl logging::Host for HostState {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        let message = contract::cut(&message, limits::PLUGIN_LOG_LINE_BYTES_MAX);
        // Does what a defect of wasmtime or of the server would do. A test shows what becomes of the plugin then.
        #[cfg(debug_assertions)]
        if message == "wasmkeeper-test: end this process" {
            #[expect(clippy::disallowed_methods, reason = "that is what the test asks for")]
            std::process::abort();
        }
        self.lines.keep(format!("{}: {message}", Level::from(level).name()));
        if !self.lines.admit(Instant::now()) {
            return Ok(());
        }
        if let Some(counters) = &self.counters {
            counters.log.push(level.into(), message);
        }
        let message = message.escape_debug();
        let plugin = &*self.name;
        match level {
            logging::Level::Trace => tracing::trace!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Debug => tracing::debug!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Info => tracing::info!(target: "wasmkeeper::guest", plugin, "{message}"),
            logging::Level::Warn => tracing::warn!(target: "wasmkeeper::guest", plugin, "{message}"),
            // An error that a guest logs is for the guest's author, not for the operator of the server.
            logging::Level::Error => tracing::warn!(target: "wasmkeeper::guest", plugin, "error: {message}"),
        }
        Ok(())
    }
}

impl types::Host for HostState {}
impl reading::Host for HostState {}
impl writing::Host for HostState {}

impl HostState {
    /// The refusal, if the grants do not cover the path.
    fn granted(&self, verb: GrantVerb, path: &str) -> Result<(), Rejection> {
        if self.grants.allow(verb, path) {
            return Ok(());
        }
        Err(Rejection {
            code: ErrorCode::NoAuth.code(),
            text: format!("the plugin has no grant to {} {path}", verb.name()),
        })
    }

    /// Reads one node through `find`, and counts the bytes. No node is found outside a call, in `configure`.
    fn look(&mut self, verb: GrantVerb, path: &str, find: impl FnOnce(&dyn ReadView) -> Option<NodeCopy>) -> Looked {
        if let Err(rejection) = self.granted(verb, path) {
            return Ok(Err(rejection));
        }
        let found = self.lent.get().and_then(|call| find(call.view));
        self.note_node(path, found.as_ref().map(|node| Versions::of(&node.stat)));
        let bytes = found.as_ref().map_or(0, |node| node.data.as_ref().map_or(0, |data| data.len()));
        self.spent.read(path.len() + bytes)?;
        Ok(Ok(found))
    }
}

impl HostState {
    fn note_node(&mut self, path: &str, was: Option<Versions>) {
        self.note(path, |_| Look::Node { path: path.into(), was });
    }

    /// Remembers that the guest has read the node, if the call is a policy's.
    fn note(&mut self, path: &str, look: impl FnOnce(&dyn ReadView) -> Look) {
        let (Some(looks), Some(call)) = (&mut self.looks, self.lent.get()) else { return };
        looks.passing |= call.view.is_outstanding(path);
        let look = look(call.view);
        // Duplicates are searched for only while the list is short: the guest's fuel does not pay for the search. A
        // longer list is not cached anyway.
        if looks.list.len() > limits::VERDICT_LOOKS_MAX || !looks.list.contains(&look) {
            looks.list.push(look);
        }
    }
}

type Looked = wasmtime::Result<Result<Option<NodeCopy>, Rejection>>;

type Answer<T> = wasmtime::Result<Result<T, Rejection>>;

impl reading::HostView for HostState {
    fn get(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Node>> {
        let found = self.look(GrantVerb::Read, &path, |view| view.node(&path))?;
        Ok(found.map(|found| found.map(contract::guest_node)))
    }

    fn stat(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Stat>> {
        if let Err(rejection) = self.granted(GrantVerb::Read, &path) {
            return Ok(Err(rejection));
        }
        self.spent.read(path.len())?;
        let found = self.lent.get().and_then(|call| call.view.stat(&path));
        self.note_node(&path, found.as_ref().map(Versions::of));
        Ok(Ok(found.as_ref().map(contract::guest_stat)))
    }

    fn acl(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Vec<types::AclEntry>> {
        let found = self.look(GrantVerb::Read, &path, |view| view.node(&path))?;
        Ok(found
            .map(|found| found.map_or_else(Vec::new, |node| node.acl.iter().map(contract::guest_acl_entry).collect())))
    }

    fn children(
        &mut self,
        _: Resource<ViewHandle>,
        path: String,
        after: Option<String>,
        limit: u32,
    ) -> Answer<Vec<String>> {
        if let Err(rejection) = self.granted(GrantVerb::Children, &path) {
            return Ok(Err(rejection));
        }
        let limit = (limit as usize).min(limits::PLUGIN_PAGE_MAX);
        // Versions first, then names. If the tree changes in between, the noted version is too old, and the cached
        // answer does not hold. The other order could note a version that is too new.
        self.note(&path, |view| Look::Names {
            path: path.as_str().into(),
            was: view.versions(&path).map(|now| now.pzxid),
        });
        let names = self.lent.get().map_or_else(Vec::new, |call| call.view.children(&path, after.as_deref(), limit));
        self.spent.read(path.len() + names.iter().map(String::len).sum::<usize>())?;
        Ok(Ok(names))
    }

    fn ephemerals(&mut self, _: Resource<ViewHandle>, session: u64, prefix: String, limit: u32) -> Answer<Vec<String>> {
        if let Err(rejection) = self.granted(GrantVerb::Read, &prefix) {
            return Ok(Err(rejection));
        }
        let limit = (limit as usize).min(limits::PLUGIN_PAGE_MAX);
        let session = SessionId(session.cast_signed());
        // `prefix` is plain text. So "/a" also finds "/ab", which the grant may not cover.
        let mut paths = self.lent.get().map_or_else(Vec::new, |call| call.view.ephemerals(session, &prefix, limit));
        if let Some(looks) = &mut self.looks {
            looks.passing = true;
            looks.list.push(Look::Ephemerals { session, prefix: prefix.as_str().into(), limit, found: paths.clone() });
        }
        paths.retain(|path| self.grants.allow(GrantVerb::Read, path));
        self.spent.read(prefix.len() + paths.iter().map(String::len).sum::<usize>())?;
        Ok(Ok(paths))
    }

    fn original(&mut self, _: Resource<ViewHandle>, path: String) -> Answer<Option<types::Node>> {
        let found = self.look(GrantVerb::Read, &path, |view| view.original(&path))?;
        // Notes the node as it is now, too. If the transaction has changed the node, the change is outstanding, and the
        // answer is not cached.
        self.note(&path, |view| Look::Node { path: path.as_str().into(), was: view.versions(&path) });
        Ok(found.map(|found| found.map(contract::guest_node)))
    }

    fn context(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<types::Context> {
        self.spent.circumstances = true;
        let call = self.lent.get();
        Ok(types::Context {
            zxid: call.map_or(0, |call| call.zxid.0),
            wall_ms: call.map_or(0, |call| call.moment.wall_ms.max(0).cast_unsigned()),
            ensemble_ms: call.map_or(0, |call| call.moment.ensemble_ms),
            seed: call.map_or(0, |call| call.moment.seed),
            session: call.map_or(0, |call| call.session.0.cast_unsigned()),
        })
    }

    fn identities(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<Vec<types::Identity>> {
        let caller = self.lent.get().and_then(|call| call.caller);
        Ok(caller.map_or_else(Vec::new, |caller| caller.identities.iter().map(contract::guest_identity).collect()))
    }

    fn fact(&mut self, _: Resource<ViewHandle>, name: String) -> wasmtime::Result<Option<String>> {
        self.spent.circumstances = true;
        let Some(call) = self.lent.get() else { return Ok(None) };
        Ok(match name.as_str() {
            "address" => call.caller.map(|caller| std::net::SocketAddr::new(caller.address, caller.port).to_string()),
            "xid" => call.caller.map(|_| call.xid.to_string()),
            "plugins" => Some(call.writers.join(",")),
            _ => None,
        })
    }

    fn drop(&mut self, _: Resource<ViewHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostState {
    /// One operation on the transaction. `bytes`: the data and ACL that the operation carries.
    fn change<T>(
        &mut self,
        verb: GrantVerb,
        path: &str,
        bytes: usize,
        change: impl FnOnce(&dyn TreeWriter) -> Result<T, Refusal>,
    ) -> Answer<T> {
        self.spent.write(path.len() + bytes)?;
        if let Err(rejection) = self.granted(verb, path) {
            return Ok(Err(rejection));
        }
        self.at_bench(change)
    }

    fn at_bench<T>(&mut self, change: impl FnOnce(&dyn TreeWriter) -> Result<T, Refusal>) -> Answer<T> {
        // A guest has the handle only in calls that lend a bench.
        let bench = self.lent.get().and_then(|call| call.writer);
        let bench = bench.ok_or_else(|| wasmtime::format_err!("there is no transaction to change"))?;
        Ok(change(bench).map_err(rejection))
    }

    fn create_node(
        &mut self,
        path: &str,
        data: &[u8],
        kind: types::NodeKind,
        acl: &[types::AclEntry],
        sequential: bool,
    ) -> Answer<String> {
        let Some(kind) = contract::model_node_kind(kind) else {
            self.spent.write(path.len() + data.len())?;
            let text = format!("a node lives for 1 to {} ms", crate::model::owner::TTL_MS_MAX);
            return Ok(Err(rejection(Refusal::new(ErrorCode::BadArguments, text))));
        };
        let acl: Acl = acl.iter().map(contract::model_acl_entry).collect();
        let bytes = data.len() + acl::bytes(&acl);
        // A grant for the path itself does not cover the paths of sequential nodes. Zeros stand for their digits, so a
        // grant cannot name single numbers.
        let granted = if sequential { Cow::Owned(format!("{path}{:010}", 0)) } else { Cow::Borrowed(path) };
        self.change(GrantVerb::Create, &granted, bytes, |bench| bench.create(path, data, kind, &acl, sequential))
    }
}

impl writing::HostTransaction for HostState {
    fn create(
        &mut self,
        _: Resource<TransactionHandle>,
        path: String,
        data: Vec<u8>,
        kind: types::NodeKind,
        acl: Vec<types::AclEntry>,
    ) -> Answer<()> {
        Ok(self.create_node(&path, &data, kind, &acl, false)?.map(drop))
    }

    fn create_sequential(
        &mut self,
        _: Resource<TransactionHandle>,
        path: String,
        data: Vec<u8>,
        kind: types::NodeKind,
        acl: Vec<types::AclEntry>,
    ) -> Answer<String> {
        self.create_node(&path, &data, kind, &acl, true)
    }

    fn set_data(
        &mut self,
        _: Resource<TransactionHandle>,
        path: String,
        data: Vec<u8>,
        version: Option<i32>,
    ) -> Answer<()> {
        self.change(GrantVerb::Set, &path, data.len(), |bench| bench.set_data(&path, &data, version))
    }

    fn set_acl(
        &mut self,
        _: Resource<TransactionHandle>,
        path: String,
        acl: Vec<types::AclEntry>,
        version: Option<i32>,
    ) -> Answer<()> {
        let acl: Acl = acl.iter().map(contract::model_acl_entry).collect();
        self.change(GrantVerb::Acl, &path, acl::bytes(&acl), |bench| bench.set_acl(&path, &acl, version))
    }

    fn delete(&mut self, _: Resource<TransactionHandle>, path: String, version: Option<i32>) -> Answer<()> {
        self.change(GrantVerb::Delete, &path, 0, |bench| bench.delete(&path, version))
    }

    fn set_timer(&mut self, _: Resource<TransactionHandle>, name: String, after_ms: u64) -> Answer<()> {
        self.spent.write(name.len())?;
        if name.len() > limits::PLUGIN_TIMER_NAME_BYTES_MAX {
            let text = format!("a timer's name has at most {} bytes", limits::PLUGIN_TIMER_NAME_BYTES_MAX);
            return Ok(Err(rejection(Refusal::new(ErrorCode::BadArguments, text))));
        }
        self.at_bench(|bench| bench.set_timer(&name, after_ms))
    }

    fn cancel_timer(&mut self, _: Resource<TransactionHandle>, name: String) -> wasmtime::Result<()> {
        self.spent.write(name.len())?;
        self.at_bench(|bench| {
            bench.cancel_timer(&name);
            Ok(())
        })
        .map(drop)
    }

    fn drop(&mut self, _: Resource<TransactionHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The server's refusal in the contract's types.
fn rejection(refusal: Refusal) -> Rejection {
    let code = refusal.code.code();
    let text = if refusal.text.is_empty() { refusal.code.name().to_owned() } else { refusal.text };
    Rejection { code, text }
}

impl From<logging::Level> for Level {
    fn from(level: logging::Level) -> Level {
        match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        }
    }
}
