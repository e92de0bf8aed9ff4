//! The clients of a scenario: their names, sessions, connections and identities.

use crate::model::{ConnectionId, Identity, Password, SessionId};
use crate::pipeline::Caller;
use crate::session::rejection::Refusals;
use crate::wire::request::Request;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The session of the first client. Each later session has the next number.
const FIRST_SESSION: i64 = 0x1_0000_0001;

/// The password of every session.
pub(crate) const PASSWORD: Password = Password([0; 16]);

/// A session as a client uses it: on one connection.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Attachment {
    pub(crate) session: SessionId,
    pub(crate) connection: ConnectionId,
}

pub(crate) struct Client {
    pub(crate) attachment: Attachment,
    /// What `attachment` was before the session ended or the client attached to it again.
    pub(crate) former: Option<Attachment>,
    /// Whether the session has been opened and has not ended.
    pub(crate) open: bool,
    pub(crate) identities: Vec<Identity>,
    /// Identities that an authenticator has proven, and until when (Unix milliseconds).
    pub(crate) ends: Vec<(Identity, u64)>,
    pub(crate) address: IpAddr,
    /// The last write, for `retry`.
    pub(crate) last: Option<Request>,
    pub(crate) refusals: Refusals,
}

impl Client {
    fn new(attachment: Attachment) -> Client {
        Client {
            attachment,
            former: None,
            open: false,
            identities: vec![Identity::new("ip", "127.0.0.1")],
            ends: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            last: None,
            refusals: Refusals::default(),
        }
    }

    /// Takes away the identities whose time is over.
    pub(crate) fn end_identities(&mut self, now_ms: u64) {
        let Client { ends, identities, .. } = self;
        identities.retain(|identity| {
            let mut of_it = ends.iter().filter(|(ending, _)| ending == identity).peekable();
            of_it.peek().is_none() || of_it.any(|(_, until_ms)| *until_ms > now_ms)
        });
    }

    /// The client as the pipeline sees it.
    pub(crate) fn caller(&self) -> Caller {
        self.caller_on(self.attachment)
    }

    /// The client as the pipeline sees it if a request arrives on `attachment`.
    pub(crate) fn caller_on(&self, attachment: Attachment) -> Caller {
        Caller {
            session: attachment.session,
            connection: attachment.connection,
            identities: self.identities.clone().into(),
            address: self.address,
            port: 40_000,
            local: false,
        }
    }
}

/// Clients by name.
#[derive(Default)]
pub(crate) struct Clients {
    by_name: BTreeMap<String, Client>,
}

impl Clients {
    /// The client of that name. A name that is new makes a client, whose session is not open.
    pub(crate) fn of_name(&mut self, name: &str) -> &mut Client {
        let next = self.next_attachment();
        self.by_name.entry(name.to_owned()).or_insert_with(|| Client::new(next))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Client> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Client> {
        self.by_name.get_mut(name)
    }

    /// Name and client that have this connection now.
    pub(crate) fn on_connection(&self, connection: ConnectionId) -> Option<(&String, &Client)> {
        self.by_name.iter().find(|(_, client)| client.attachment.connection == connection)
    }

    /// The name of the client that has this session now, or the session's number.
    pub(crate) fn session_name(&self, session: SessionId) -> String {
        let name = self.by_name.iter().find(|(_, client)| client.attachment.session == session);
        name.map_or_else(|| session.to_string(), |(name, _)| name.clone())
    }

    /// The client's session is over. The client's next request opens another one. Returns the connection that is gone.
    pub(crate) fn end_session(&mut self, name: &str) -> Option<ConnectionId> {
        let next = self.next_attachment();
        let client = self.by_name.get_mut(name)?;
        client.open = false;
        let former = std::mem::replace(&mut client.attachment, next);
        client.former = Some(former);
        Some(former.connection)
    }

    /// The client has another connection for the same session. Returns the connection it had before.
    pub(crate) fn reconnect(&mut self, name: &str) -> Option<ConnectionId> {
        let connection = self.next_attachment().connection;
        let client = self.by_name.get_mut(name)?;
        let former = client.attachment;
        client.attachment.connection = connection;
        client.former = Some(former);
        Some(former.connection)
    }

    /// A session and a connection that no client has or had.
    pub(crate) fn next_attachment(&self) -> Attachment {
        let sessions = self.by_name.values().map(|client| client.attachment.session.0);
        let connections = self.by_name.values().map(|client| client.attachment.connection.number);
        let session = SessionId(sessions.max().map_or(FIRST_SESSION, |last| last + 1));
        let number = connections.max().unwrap_or(0) + 1;
        Attachment { session, connection: ConnectionId { member: 1, run: 1, number } }
    }
}

/// The operator, who deploys plugins and calls recipes.
pub(crate) fn operator() -> Caller {
    Caller {
        session: SessionId::NONE,
        connection: ConnectionId { member: 1, run: 0, number: 0 },
        identities: Arc::from([crate::session::auth::superuser()]),
        address: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        local: true,
    }
}
