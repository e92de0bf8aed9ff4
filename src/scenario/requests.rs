//! What clients of a scenario ask, from the words of a line.

use super::script::Word;
use super::show;
use crate::model::{AclEntry, Identity, acl};
use crate::wire::request::{Create, CreateForm, Operation, Request, create_mode, op};
use bytes::Bytes;

/// A request of the protocol, and what of its answer is printed.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// Whether the Stat is printed, too.
    pub(crate) with_stat: bool,
}

/// Reads a request. The error is a sentence.
pub(crate) fn parse(words: &[Word]) -> Result<Asked, String> {
    let verb = words.first().map_or("", |word| word.text.as_str());
    if let "multi" | "multi-read" = verb {
        let operations = words[1..].split(|word| !word.literal && word.text == ";").filter(|part| !part.is_empty());
        let request = match verb {
            "multi" => Request::Multi(operations.map(operation).collect::<Result<_, _>>()?),
            _ => Request::MultiRead(operations.map(read_operation).collect::<Result<_, _>>()?),
        };
        return Ok(Asked { request, with_stat: false });
    }
    let mut rest = Rest { words: &words[1.min(words.len())..] };
    let mut with_stat = false;
    let request = match verb {
        "create" => create(&mut rest)?,
        "create-if-absent" => create_if_absent(&mut rest)?,
        "delete" => Request::Delete { path: rest.path()?, version: rest.version()? },
        "set" => Request::SetData { path: rest.path()?, data: rest.data()?, version: rest.version()? },
        "set-acl" => Request::SetAcl { path: rest.path()?, acl: rest.acl()?, version: rest.version()? },
        "check" => Request::Check { path: rest.path()?, version: rest.version()? },
        "check-absent" => Request::CheckNotExists { path: rest.path()?, version: rest.version()? },
        "delete-container" => Request::DeleteContainer { path: rest.path()? },
        "reconfig" => reconfig(&mut rest)?,
        "get" => {
            let path = rest.path()?;
            with_stat = rest.keyword("stat");
            Request::GetData { path, watch: rest.keyword("watch") }
        }
        "exists" => Request::Exists { path: rest.path()?, watch: rest.keyword("watch") },
        "children" => {
            let path = rest.path()?;
            with_stat = rest.keyword("stat");
            match with_stat {
                true => Request::GetChildren2 { path, watch: rest.keyword("watch") },
                false => Request::GetChildren { path, watch: rest.keyword("watch") },
            }
        }
        "children-of-kind" => {
            let filter = u8::try_from(rest.number("children-of-kind")?).map_err(|_| "0, 1 or 2 is required")?;
            with_stat = true;
            Request::FilteredList { path: rest.path()?, filter, watch: rest.keyword("watch") }
        }
        "count-children" => Request::GetAllChildrenNumber { path: rest.path()? },
        "ping" => Request::Ping,
        "acl" => Request::GetAcl { path: rest.path()? },
        "ephemerals" => Request::GetEphemerals { prefix: rest.path()? },
        "whoami" => Request::WhoAmI,
        "watch" => Request::AddWatch { path: rest.path()?, mode: i32::from(rest.keyword("recursive")) },
        other => return Err(format!("{other}: not a request; see plugins/TESTING.md")),
    };
    rest.end()?;
    Ok(Asked { request, with_stat })
}

fn operation(words: &[Word]) -> Result<Operation, String> {
    let Asked { request, .. } = parse(words)?;
    let op = match &request {
        Request::Create(create) => create.form.opcode(),
        Request::Delete { .. } => op::DELETE,
        Request::SetData { .. } => op::SET_DATA,
        Request::Check { .. } => op::CHECK,
        Request::CheckNotExists { .. } => op::CHECK_NOT_EXISTS,
        _ => return Err("a multi is made of create, set, delete and check, with ; between them".into()),
    };
    Ok(Operation { op, request })
}

fn read_operation(words: &[Word]) -> Result<Operation, String> {
    let Asked { request, .. } = parse(words)?;
    let op = match &request {
        Request::GetData { .. } => op::GET_DATA,
        Request::GetChildren { .. } => op::GET_CHILDREN,
        // As a server would see it whose client sends something else.
        _ => op::ERROR,
    };
    Ok(Operation { op, request })
}

/// Whether the leader's evaluator judges the request. All other requests are reads.
pub(crate) fn is_write(request: &Request) -> bool {
    matches!(
        request,
        Request::Create(_)
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::SetAcl { .. }
            | Request::Check { .. }
            | Request::CheckNotExists { .. }
            | Request::Multi(_)
            | Request::DeleteContainer { .. }
            | Request::Reconfig { .. }
    )
}

/// `reconfig [joining SERVERS] [leaving IDS] [members SERVERS] [from VERSION]`. VERSION is hexadecimal, as in
/// `/zookeeper/config`.
fn reconfig(rest: &mut Rest<'_>) -> Result<Request, String> {
    let (mut joining, mut leaving, mut new_members, mut config_id) = (None, None, None, -1);
    while let Some(word) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{}: a value is required", word.text))?.text.clone();
        match word.text.as_str() {
            "joining" => joining = Some(value),
            "leaving" => leaving = Some(value),
            "members" => new_members = Some(value),
            "from" => config_id = i64::from_str_radix(&value, 16).map_err(|_| "from: a version is required")?,
            other => return Err(format!("{other}: joining, leaving, members or from is required")),
        }
    }
    Ok(Request::Reconfig { joining, leaving, new_members, config_id })
}

fn create_if_absent(rest: &mut Rest<'_>) -> Result<Request, String> {
    match create(rest)? {
        Request::Create(create) => Ok(Request::Create(Create { form: CreateForm::IfNotExists, ..create })),
        _ => Err("create-if-absent: a create is required".into()),
    }
}

fn create(rest: &mut Rest<'_>) -> Result<Request, String> {
    let path = rest.path()?;
    let (mut data, mut list) = (None, Some(acl::open_unsafe().to_vec()));
    let (mut ephemeral, mut sequential, mut container, mut ttl_ms) = (false, false, false, 0);
    let (mut raw_form, mut raw_flags) = (None, None);
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "ephemeral" if !word.literal => ephemeral = true,
            "sequential" if !word.literal => sequential = true,
            "container" if !word.literal => container = true,
            "ttl" if !word.literal => ttl_ms = rest.number("ttl")?,
            "acl" if !word.literal => list = rest.acl()?,
            "form" if !word.literal => raw_form = Some(rest.form()?),
            "flags" if !word.literal => raw_flags = Some(rest.number("flags")?),
            _ if data.is_none() => data = Some(bytes(word)),
            other => return Err(format!("{other}: ephemeral, sequential, container, ttl MS or acl LIST is required")),
        }
    }
    let data = data.unwrap_or_else(|| Some(Bytes::new()));
    if raw_form.is_some() || raw_flags.is_some() {
        let form = raw_form.unwrap_or(CreateForm::Create);
        let flags = i32::try_from(raw_flags.unwrap_or(0)).map_err(|_| "flags: the number is too large")?;
        return Ok(Request::Create(Create { form, path, data, acl: list, flags, ttl_ms }));
    }
    let (form, flags) = match (ephemeral, sequential, container, ttl_ms) {
        (false, false, true, 0) => (CreateForm::Container, create_mode::CONTAINER),
        (false, false, false, 1..) => (CreateForm::Ttl, create_mode::TTL),
        (false, true, false, 1..) => (CreateForm::Ttl, create_mode::SEQUENTIAL_TTL),
        (false, false, false, 0) => (CreateForm::Create, create_mode::PERSISTENT),
        (true, false, false, 0) => (CreateForm::Create, create_mode::EPHEMERAL),
        (false, true, false, 0) => (CreateForm::Create, create_mode::PERSISTENT_SEQUENTIAL),
        (true, true, false, 0) => (CreateForm::Create, create_mode::EPHEMERAL_SEQUENTIAL),
        _ => return Err("ZooKeeper has no such kind of node".into()),
    };
    Ok(Request::Create(Create { form, path, data, acl: list, flags, ttl_ms }))
}

/// Data. `null` is no data at all.
fn bytes(word: &Word) -> Option<Bytes> {
    (word.literal || word.text != "null").then(|| Bytes::from(word.text.clone()))
}

/// The words that have not been read yet.
struct Rest<'a> {
    words: &'a [Word],
}

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// The path; None is no path at all, written `null`.
    fn path(&mut self) -> Result<Option<String>, String> {
        let word = self.next().ok_or("a path is required")?;
        Ok((word.literal || word.text != "null").then(|| word.text.clone()))
    }

    fn data(&mut self) -> Result<Option<Bytes>, String> {
        self.next().map(bytes).ok_or_else(|| "data is required".into())
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let is_it = self.words.first().is_some_and(|word| !word.literal && word.text == keyword);
        if is_it {
            self.words = &self.words[1..];
        }
        is_it
    }

    fn number(&mut self, of: &str) -> Result<i64, String> {
        let word = self.next().and_then(|word| word.text.parse().ok());
        word.ok_or_else(|| format!("{of}: a number is required"))
    }

    /// `version N`; -1, any, if it is not there.
    fn version(&mut self) -> Result<i32, String> {
        if !self.keyword("version") {
            return Ok(-1);
        }
        i32::try_from(self.number("version")?).map_err(|_| "version: the number is too large".into())
    }

    /// The opcode and layout of a create, for requests that no client library makes.
    fn form(&mut self) -> Result<CreateForm, String> {
        match self.next().map(|word| word.text.as_str()) {
            Some("create") => Ok(CreateForm::Create),
            Some("create2") => Ok(CreateForm::Create2),
            Some("container") => Ok(CreateForm::Container),
            Some("ttl") => Ok(CreateForm::Ttl),
            _ => Err("form: create, create2, container or ttl is required".into()),
        }
    }

    /// `world:anyone:cdrwa,digest:alice:hash:r`, or `''` for an ACL without entries. None is no ACL at all, written
    /// `null`.
    fn acl(&mut self) -> Result<Option<Vec<AclEntry>>, String> {
        let list = self.next().ok_or("an ACL is required, for example world:anyone:cdrwa")?;
        match (list.literal, list.text.as_str()) {
            (false, "null") => return Ok(None),
            (true, "") => return Ok(Some(Vec::new())),
            _ => {}
        }
        let entry = |text: &str| {
            let (who, letters) = text.rsplit_once(':')?;
            let (scheme, id) = who.split_once(':')?;
            Some(AclEntry { permissions: show::permissions(letters)?, who: Identity::new(scheme, id) })
        };
        let entries = list.text.split(',').map(|text| {
            entry(text).ok_or_else(|| format!("{text}: SCHEME:ID:PERMISSIONS is required, as in world:anyone:cdrwa"))
        });
        entries.collect::<Result<_, _>>().map(Some)
    }

    fn end(&self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("{}: nothing is expected here", word.text)),
        }
    }
}
