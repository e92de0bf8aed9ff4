//! What clients of a scenario ask, from the words of a line.

use super::script::Word;
use super::show;
use crate::model::{AclEntry, Identity, acl};
use crate::wire::request::{Create, CreateForm, Operation, Request, create_mode, op};
use bytes::Bytes;

/// A request of the protocol and what of its answer is printed.
pub struct Asked {
    pub request: Request,
    /// The Stat, too.
    pub with_stat: bool,
}

/// The error is a sentence without the line.
pub fn parse(words: &[Word]) -> Result<Asked, String> {
    let verb = words.first().map_or("", |word| word.text.as_str());
    if verb == "multi" {
        let operations = words[1..].split(|word| !word.literal && word.text == ";").filter(|part| !part.is_empty());
        let operations = operations.map(operation).collect::<Result<Vec<_>, _>>()?;
        return Ok(Asked { request: Request::Multi(operations), with_stat: false });
    }
    let mut rest = Rest { words: &words[1.min(words.len())..] };
    let mut with_stat = false;
    let request = match verb {
        "create" => create(&mut rest)?,
        "delete" => Request::Delete { path: rest.path()?, version: rest.version()? },
        "set" => Request::SetData { path: rest.path()?, data: rest.data()?, version: rest.version()? },
        "set-acl" => Request::SetAcl { path: rest.path()?, acl: Some(rest.acl()?), version: rest.version()? },
        "check" => Request::Check { path: rest.path()?, version: rest.version()? },
        "get" => {
            let path = rest.path()?;
            with_stat = rest.keyword("stat");
            Request::GetData { path, watch: rest.keyword("watch") }
        }
        "exists" => Request::Exists { path: rest.path()?, watch: rest.keyword("watch") },
        "children" => Request::GetChildren { path: rest.path()?, watch: rest.keyword("watch") },
        "acl" => Request::GetAcl { path: rest.path()? },
        "ephemerals" => Request::GetEphemerals { prefix: Some(rest.path()?.unwrap_or_default()) },
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
        _ => return Err("a multi is made of create, set, delete and check, with ; between them".into()),
    };
    Ok(Operation { op, request })
}

fn create(rest: &mut Rest<'_>) -> Result<Request, String> {
    let path = rest.path()?;
    let (mut data, mut list) = (None, acl::open_unsafe().to_vec());
    let (mut ephemeral, mut sequential, mut container, mut ttl_ms) = (false, false, false, 0);
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "ephemeral" if !word.literal => ephemeral = true,
            "sequential" if !word.literal => sequential = true,
            "container" if !word.literal => container = true,
            "ttl" if !word.literal => ttl_ms = rest.number("ttl")?,
            "acl" if !word.literal => list = rest.acl()?,
            _ if data.is_none() => data = Some(bytes(word)),
            other => return Err(format!("{other}: ephemeral, sequential, container, ttl MS or acl LIST is required")),
        }
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
    let data = data.unwrap_or_else(|| Some(Bytes::new()));
    Ok(Request::Create(Create { form, path, data, acl: Some(list), flags, ttl_ms }))
}

/// `null` is no data at all.
fn bytes(word: &Word) -> Option<Bytes> {
    (word.literal || word.text != "null").then(|| Bytes::from(word.text.clone()))
}

/// The words not yet understood.
struct Rest<'a> {
    words: &'a [Word],
}

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn path(&mut self) -> Result<Option<String>, String> {
        self.next().map(|word| Some(word.text.clone())).ok_or_else(|| "a path is required".into())
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

    /// `world:anyone:cdrwa,digest:alice:hash:r`
    fn acl(&mut self) -> Result<Vec<AclEntry>, String> {
        let list = self.next().ok_or("an access list is required, for example world:anyone:cdrwa")?;
        let entry = |text: &str| {
            let (who, letters) = text.rsplit_once(':')?;
            let (scheme, id) = who.split_once(':')?;
            Some(AclEntry { permissions: show::permissions(letters)?, who: Identity::new(scheme, id) })
        };
        let entries = list.text.split(',').map(|text| {
            entry(text).ok_or_else(|| format!("{text}: SCHEME:ID:PERMISSIONS is required, as in world:anyone:cdrwa"))
        });
        entries.collect()
    }

    fn end(&self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("{}: nothing is expected here", word.text)),
        }
    }
}
