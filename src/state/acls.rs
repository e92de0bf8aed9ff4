//! The ACLs of the tree. Each is kept once, with a count of the nodes that have it.
//!
//! Nearly all nodes of a tree have one of a few ACLs, so a node holds a number of four bytes in its place. The numbers
//! are local to this process. Records and digests hold the ACL itself, in the form below.
//!
//! ```text
//! +------+                      form 0: world:anyone may do everything
//! | form |                      form 1: world:anyone may read
//! +------+
//! +------+-------+  count times +-------------+-----+--------+-----+----+
//! | 2    | count |              | permissions | len | scheme | len | id |    all numbers u32 or i32, big-endian
//! +------+-------+              +-------------+-----+--------+-----+----+
//! ```

use super::reader::Reader;
use crate::model::{Acl, AclEntry, Identity, acl};
use hashbrown::HashMap;
use std::sync::Arc;

const OPEN: u8 = 0;
const READ: u8 = 1;
const LIST: u8 = 2;

/// The number of an ACL, as nodes hold it.
pub(super) type AclId = u32;

pub(super) struct Acls {
    /// By number.
    entries: Vec<Entry>,
    /// Numbers to be used again.
    ///
    /// Invariant: exactly the numbers of the entries without users.
    free: Vec<AclId>,
    /// The number that was asked for last. Mostly it is the next one asked for. May be free.
    last: AclId,
    /// Numbers by content. Never iterated.
    ///
    /// Invariant: holds exactly the entries with users.
    ids: HashMap<Acl, AclId, foldhash::fast::FixedState>,
}

struct Entry {
    acl: Acl,
    encoded: Box<[u8]>,
    /// How many nodes have the ACL.
    users: u32,
}

impl Acls {
    pub(super) fn new(seed: u64) -> Acls {
        Acls {
            entries: Vec::new(),
            free: Vec::new(),
            last: 0,
            ids: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
        }
    }

    /// The number of that ACL, for one more node.
    pub(super) fn acquire(&mut self, acl: &Acl) -> AclId {
        if let Some(id) = self.acquire_last(|entry| entry.acl == *acl) {
            return id;
        }
        if let Some(&id) = self.ids.get(acl) {
            self.entries[id as usize].users += 1;
            self.last = id;
            return id;
        }
        let entry = Entry { acl: acl.clone(), encoded: encode(acl), users: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                let freed = std::mem::replace(&mut self.entries[id as usize], entry);
                assert!(freed.users == 0, "ACL {id} is free and has {} users", freed.users);
                id
            }
            None => {
                self.entries.push(entry);
                AclId::try_from(self.entries.len() - 1).expect("a tree has fewer ACLs than nodes")
            }
        };
        let other = self.ids.insert(acl.clone(), id);
        assert!(other.is_none(), "an ACL has two numbers, {other:?} and {id}");
        self.last = id;
        self.check();
        id
    }

    /// The number of the ACL in a record, for one more node. None: the bytes are damaged.
    pub(super) fn acquire_encoded(&mut self, encoded: &[u8]) -> Option<AclId> {
        match self.acquire_last(|entry| *entry.encoded == *encoded) {
            Some(id) => Some(id),
            None => Some(self.acquire(&decode(encoded)?)),
        }
    }

    /// Counts one more user for the ACL that was asked for last, if it has users and is the one that is `meant`.
    fn acquire_last(&mut self, meant: impl Fn(&Entry) -> bool) -> Option<AclId> {
        let entry = self.entries.get_mut(self.last as usize)?;
        if entry.users == 0 || !meant(entry) {
            return None;
        }
        entry.users += 1;
        Some(self.last)
    }

    /// Counts one user less for that ACL.
    pub(super) fn release(&mut self, id: AclId) {
        let entry = &mut self.entries[id as usize];
        assert!(entry.users > 0, "ACL {id} has no user that could release it");
        entry.users -= 1;
        if entry.users == 0 {
            let known = self.ids.remove(&entry.acl);
            assert!(known == Some(id), "ACL {id} has users and is known as {known:?}");
            entry.encoded = Box::default();
            self.free.push(id);
            self.check();
        }
    }

    fn check(&self) {
        let (entries, free) = (self.entries.len(), self.free.len());
        assert!(
            self.ids.len() + free == entries,
            "of {entries} ACLs {} have users and {free} are free",
            self.ids.len()
        );
    }

    /// Checks every invariant, given how many nodes have each ACL.
    #[cfg(any(test, debug_assertions))]
    #[cfg(test)]
    pub(super) fn check_all(&self, users: &std::collections::BTreeMap<AclId, u32>) {
        self.check();
        for (id, entry) in self.entries.iter().enumerate() {
            let id = id as AclId;
            let counted = users.get(&id).copied().unwrap_or(0);
            assert!(entry.users == counted, "ACL {id} counts {} users and has {counted}", entry.users);
            let known = self.ids.get(&entry.acl).copied();
            assert!(entry.users == 0 || known == Some(id), "ACL {id} has users and is known as {known:?}");
            assert!(self.free.contains(&id) == (entry.users == 0), "ACL {id} is free or has users");
        }
    }

    pub(super) fn get(&self, id: AclId) -> &Acl {
        &self.entries[id as usize].acl
    }

    pub(super) fn encoded(&self, id: AclId) -> &[u8] {
        &self.entries[id as usize].encoded
    }
}

fn encode(list: &Acl) -> Box<[u8]> {
    if *list == acl::open_unsafe() {
        return Box::new([OPEN]);
    }
    if *list == acl::read_unsafe() {
        return Box::new([READ]);
    }
    let mut out = vec![LIST];
    out.extend((list.len() as u32).to_be_bytes());
    for entry in list.iter() {
        out.extend(entry.permissions.to_be_bytes());
        for text in [&entry.who.scheme, &entry.who.id] {
            out.extend((text.len() as u32).to_be_bytes());
            out.extend(text.as_bytes());
        }
    }
    out.into_boxed_slice()
}

/// The ACL in those bytes. None: they are damaged.
fn decode(bytes: &[u8]) -> Option<Acl> {
    let mut reader = Reader(bytes);
    let list = match reader.u8()? {
        OPEN => acl::open_unsafe(),
        READ => acl::read_unsafe(),
        LIST => {
            let count = reader.u32()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let permissions = reader.i32()?;
                let scheme = reader.text()?;
                let id = reader.text()?;
                entries.push(AclEntry { permissions, who: Identity::new(scheme, id) });
            }
            Arc::from(entries)
        }
        _ => return None,
    };
    reader.0.is_empty().then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_are_shared_counted_and_survive_encoding() {
        let mut acls = Acls::new(1);
        let mixed: Acl = Arc::from([
            AclEntry { permissions: 5, who: Identity::new("digest", "a:b") },
            AclEntry { permissions: -1, who: Identity::new("ip", "") },
        ]);
        let open = acls.acquire(&acl::open_unsafe());
        assert_eq!(acls.acquire(&acl::open_unsafe()), open);
        let id = acls.acquire(&mixed);
        assert_ne!(id, open);
        for list in [acl::open_unsafe(), acl::read_unsafe(), mixed.clone(), Arc::from([])] {
            assert_eq!(decode(&encode(&list)), Some(list));
        }
        acls.release(id);
        assert_eq!(acls.acquire(&acl::read_unsafe()), id, "the number is used again");
        assert_eq!(acls.get(id), &acl::read_unsafe());
        assert_eq!(acls.encoded(id), [READ]);
        acls.release(open);
        assert_eq!(acls.acquire_encoded(&[OPEN]), Some(open), "one user was left");
        assert_eq!(acls.acquire_encoded(&[OPEN, OPEN]), None);
    }

    #[test]
    fn damaged_acls_are_refused() {
        for bytes in [&[][..], &[3], &[OPEN, 0], &[LIST, 0, 0, 0], &[LIST, 255, 255, 255, 255, 0]] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
