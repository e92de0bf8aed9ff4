//! What clients of a scenario read, what they watch, and how they prove who they are.

use super::models;
use super::requests::Asked;
use super::show;
use super::stage::Stage;
use crate::model::control_plane::REJECTION;
use crate::model::{ErrorCode, Refusal};
use crate::pipeline::authorize::Who;
use crate::pipeline::read::{self, Reader, Scratch, VirtualNodes};
use crate::pipeline::{Call, Schemes as _, view};
use crate::plugin::Plugins;
use crate::session::auth;
use crate::session::judgement::{self, Rulings};
use crate::session::rejection::Refusals;
use crate::state::State;
use crate::watch::PersistentMode;
use crate::wire::request::Request;

impl Stage {
    /// Prints the events of the transaction just applied. Clients hear in the order of their names, since the order in
    /// which they began to watch means nothing.
    pub(super) fn tell_events(&mut self) {
        let events = std::mem::take(&mut self.world.applied.events);
        for event in &events {
            let mut due = Vec::new();
            self.watches.trigger(event, &mut |connection, kind, path| {
                if let Some((name, client)) = self.clients.on_connection(connection)
                    && auth::may_hear(
                        &self.world.rules,
                        &event.acl,
                        Who { identities: &client.identities, session: client.attachment.session },
                    )
                {
                    due.push((name.clone(), kind, path.to_owned()));
                }
            });
            let mut heard = Vec::new();
            for (name, kind, path) in due {
                let (caller, moment) = (self.caller(&name), self.world.clock.moment());
                let view = view::AppliedTree(&self.world.state);
                let call = Call::looking(&view, Some(&caller), 0, self.world.state.last_zxid(), moment);
                let (registry, enabled) = (self.setup.plugins.registry(), self.setup.plugins.enabled());
                if registry.authorize(enabled, &call, judgement::verb_of(kind), &path).said.is_ok() {
                    heard.push(format!("{name} <- event {} {path}", show::event(kind)));
                }
            }
            heard.sort_unstable();
            self.said.extend(heard);
        }
        self.world.applied.events = events;
    }

    /// What policies say of a read.
    fn judge(&mut self, name: &str, request: &Request) -> Rulings {
        let (caller, moment) = (self.caller(name), self.world.clock.moment());
        let view = view::AppliedTree(&self.world.state);
        let call = Call::looking(&view, Some(&caller), self.xid, self.world.state.last_zxid(), moment);
        judgement::at_once(&self.setup.plugins, &self.world.rules, &self.world.state, request, &call)
    }

    fn refuse(&mut self, name: &str, refusal: &Refusal) {
        let xid = self.xid;
        self.clients.of_name(name).refusals.note(xid, refusal);
        let text = format!("{} {}", refusal.code.name(), show::one_line(&refusal.text));
        self.say(name, text.trim_end());
    }

    pub(super) fn add_watch(&mut self, name: &str, request: &Request, path: &str, mode: i32) {
        let mode = PersistentMode::from_wire(mode).unwrap_or(PersistentMode::Persistent);
        let denied = self.judge(name, request).into_iter().flatten().next();
        match denied {
            Some(refusal) => self.refuse(name, &refusal),
            None => {
                let connection = self.clients.of_name(name).attachment.connection;
                self.watches.add(path, mode, connection);
                self.say(name, "ok");
            }
        }
    }

    pub(super) fn read(&mut self, name: &str, asked: &Asked) {
        let rulings = self.judge(name, &asked.request);
        if let Some(refusal) = judgement::of_all(&rulings, &asked.request) {
            return self.refuse(name, refusal);
        }
        let client = self.clients.of_name(name);
        let (session, connection) = (client.attachment.session, client.attachment.connection);
        let client = self.clients.get(name).expect("it was just named");
        let nodes = Nodes { refusals: &client.refusals, plugins: &self.setup.plugins };
        let reader = Reader {
            state: &self.world.state,
            rules: &self.world.rules,
            identities: &client.identities,
            session,
            virtual_nodes: &nodes,
            denied: &judgement::of_operations(&rulings, &asked.request),
        };
        let mut scratch = Scratch::default();
        let result = read::read(reader, &asked.request, &mut scratch);
        let names = |session| self.clients.session_name(session);
        let text = match &result {
            Ok(body) => show::read(body, asked.with_stat, &names),
            Err(code) => code.name().to_owned(),
        };
        let ended = result.map(|_| ());
        if let Some((kind, path)) = read::watch_to_arm(&asked.request, ended) {
            self.watches.arm(kind, path, connection);
        }
        if let Some(record) = &mut self.record {
            let request = models::Asked::Request(asked.request.clone());
            record.asks(0, name, session, request, self.world.clock.ensemble_ms);
            record.answers(0, &text, self.world.clock.ensemble_ms);
        }
        self.say(name, &text);
    }

    pub(super) fn add_auth(&mut self, name: &str, scheme: &str, credential: &str) {
        let verdict = if self.setup.plugins.proves(scheme) {
            let (caller, moment) = (self.caller(name), self.world.clock.moment());
            let view = view::AppliedTree(&self.world.state);
            let call = Call::looking(&view, Some(&caller), 0, self.world.state.last_zxid(), moment);
            match self.setup.plugins.authenticate(scheme, &call, credential.as_bytes()) {
                Some(proof) => {
                    let until_ms = proof.until_ms.unwrap_or(u64::MAX);
                    let ends = proof.identities.iter().map(|identity| (identity.clone(), until_ms));
                    self.clients.of_name(name).ends.extend(ends);
                    auth::Added::Proven(proof.identities)
                }
                None => auth::Added::Failed,
            }
        } else {
            let client = self.clients.of_name(name);
            let config = crate::config::Config::default().auth;
            auth::add(&config, Some(scheme), Some(credential.as_bytes()), &client.identities, client.address)
        };
        match verdict {
            auth::Added::Proven(proven) => {
                let client = self.clients.of_name(name);
                for identity in proven {
                    if !client.identities.contains(&identity) {
                        client.identities.push(identity);
                    }
                }
                self.say(name, "ok");
            }
            auth::Added::Failed => self.say(name, ErrorCode::AuthFailed.name()),
        }
    }
}

/// Paths below `/zookeeper` that are not in the tree and can be read.
struct Nodes<'a> {
    refusals: &'a Refusals,
    plugins: &'a Plugins,
}

impl VirtualNodes for Nodes<'_> {
    fn data(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        match path {
            REJECTION => self.refusals.text().map(String::into_bytes),
            path => self.plugins.audited(state, path).or_else(|| self.plugins.virtual_node(path)),
        }
    }
}
