//! The access control lists of the tree, each kept once and counted.
//!
//! Nearly all nodes of a tree have one of a few lists, so a node holds a number of four bytes. Numbers are local to
//! this process: records and digests hold the list itself, in the form below.
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

/// Number of a list, as nodes hold it.
pub(super) type AclId = u32;

pub(super) struct Acls {
    entries: Vec<Entry>,
    free: Vec<AclId>,
    /// The one asked for last: it is mostly the one asked for next. May be free.
    last: AclId,
    /// Keyed by content. Holds exactly the entries with `users > 0`.
    ids: HashMap<Acl, AclId, foldhash::fast::FixedState>,
}

struct Entry {
    acl: Acl,
    encoded: Box<[u8]>,
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

    /// The number of that list, for one more node.
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
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                AclId::try_from(self.entries.len() - 1).expect("fewer lists than nodes")
            }
        };
        self.ids.insert(acl.clone(), id);
        self.last = id;
        id
    }

    /// The number of the list that a record has; none if its bytes are damaged.
    pub(super) fn acquire_encoded(&mut self, encoded: &[u8]) -> Option<AclId> {
        match self.acquire_last(|entry| *entry.encoded == *encoded) {
            Some(id) => Some(id),
            None => Some(self.acquire(&decode(encoded)?)),
        }
    }

    /// One more user for the list asked for last, if it is in use and the one that is meant.
    fn acquire_last(&mut self, meant: impl Fn(&Entry) -> bool) -> Option<AclId> {
        let entry = self.entries.get_mut(self.last as usize)?;
        if entry.users == 0 || !meant(entry) {
            return None;
        }
        entry.users += 1;
        Some(self.last)
    }

    /// One node less has that list.
    pub(super) fn release(&mut self, id: AclId) {
        let entry = &mut self.entries[id as usize];
        entry.users -= 1;
        if entry.users == 0 {
            self.ids.remove(&entry.acl);
            entry.encoded = Box::default();
            self.free.push(id);
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

/// The list of those bytes; none if they are damaged.
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
    fn lists_are_shared_counted_and_survive_encoding() {
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
        assert_eq!(acls.acquire(&acl::read_unsafe()), id, "the number is free again");
        assert_eq!(acls.get(id), &acl::read_unsafe());
        assert_eq!(acls.encoded(id), [READ]);
        acls.release(open);
        assert_eq!(acls.acquire_encoded(&[OPEN]), Some(open), "one user was left");
        assert_eq!(acls.acquire_encoded(&[OPEN, OPEN]), None);
    }

    #[test]
    fn damaged_lists_are_refused() {
        for bytes in [&[][..], &[3], &[OPEN, 0], &[LIST, 0, 0, 0], &[LIST, 255, 255, 255, 255, 0]] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }
}
