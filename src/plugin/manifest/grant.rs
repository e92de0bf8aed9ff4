//! What a plugin may read and change: path prefixes with verbs. A plugin gets the intersection of what its author asks
//! for and what the operator grants. No grant reaches `/zookeeper`.

use crate::model::path;
use serde::{Deserialize, Serialize};

/// What a grant allows to do with a node. Grants use these names (`types.verb` of the contract).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GrantVerb {
    Read,
    Children,
    Create,
    Set,
    Delete,
    Acl,
}

impl GrantVerb {
    pub(crate) const ALL: [GrantVerb; 6] =
        [GrantVerb::Read, GrantVerb::Children, GrantVerb::Create, GrantVerb::Set, GrantVerb::Delete, GrantVerb::Acl];

    pub(crate) fn name(self) -> &'static str {
        match self {
            GrantVerb::Read => "read",
            GrantVerb::Children => "children",
            GrantVerb::Create => "create",
            GrantVerb::Set => "set",
            GrantVerb::Delete => "delete",
            GrantVerb::Acl => "acl",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<GrantVerb> {
        GrantVerb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// Allows these verbs on the node at `path` and on all nodes below.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// An absolute path. In the author's manifest it may start with `$mount`, which stands for the places of the
    /// binding.
    pub(crate) path: String,
    pub(crate) verbs: Vec<GrantVerb>,
}

/// All grants of one plugin.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Grants(Vec<(String, u8)>);

fn bit(verb: GrantVerb) -> u8 {
    1 << verb as u8
}

impl Grants {
    /// Grants with absolute paths.
    pub(crate) fn new(grants: &[Grant]) -> Grants {
        Grants(
            grants
                .iter()
                .map(|grant| (grant.path.clone(), grant.verbs.iter().fold(0, |bits, verb| bits | bit(*verb))))
                .collect(),
        )
    }

    pub(crate) fn allow(&self, verb: GrantVerb, path: &str) -> bool {
        !path::is_servers_own(path)
            && self.0.iter().any(|(root, verbs)| verbs & bit(verb) != 0 && path::is_within(path, root))
    }

    /// The grants as they are written.
    pub(crate) fn list(&self) -> Vec<Grant> {
        let verbs = |bits: u8| GrantVerb::ALL.into_iter().filter(|verb| bits & bit(*verb) != 0).collect();
        self.0.iter().map(|(path, bits)| Grant { path: path.clone(), verbs: verbs(*bits) }).collect()
    }

    /// The grants that both sides allow.
    pub(crate) fn intersection(&self, other: &Grants) -> Grants {
        let mut both = Vec::new();
        for (ours, our_verbs) in &self.0 {
            for (theirs, their_verbs) in &other.0 {
                let deeper = match () {
                    () if path::is_within(ours, theirs) => ours,
                    () if path::is_within(theirs, ours) => theirs,
                    () => continue,
                };
                if our_verbs & their_verbs != 0 {
                    both.push((deeper.clone(), our_verbs & their_verbs));
                }
            }
        }
        Grants(both)
    }
}

/// The grants that an author asks for, with `$mount` replaced by each place of the binding.
pub fn expand(asked: &[Grant], places: &[&str]) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for grant in asked {
        let Some(below) = grant.path.strip_prefix("$mount") else {
            grants.push(grant.clone());
            continue;
        };
        for place in places {
            let path = match (*place, below) {
                ("/", "") => "/".to_string(),
                ("/", below) => below.to_string(),
                (place, below) => format!("{place}{below}"),
            };
            let grant = Grant { path, verbs: grant.verbs.clone() };
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
    }
    grants
}

/// Checks one grant. The error is a sentence that names the grant.
pub(crate) fn check(grant: &Grant) -> Result<(), String> {
    if let Err(error) = path::validate(&grant.path) {
        return Err(format!("grant on {:?}: {error}", grant.path));
    }
    if path::is_servers_own(&grant.path) {
        return Err(format!("grant on {:?}: no grant reaches /zookeeper", grant.path));
    }
    if grant.verbs.is_empty() {
        return Err(format!(
            "grant on {:?}: a verb is required: read, children, create, set, delete or acl",
            grant.path
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[(&str, &[GrantVerb])]) -> Grants {
        let list: Vec<_> =
            list.iter().map(|(path, verbs)| Grant { path: (*path).into(), verbs: verbs.to_vec() }).collect();
        Grants::new(&list)
    }

    #[test]
    fn a_grant_covers_its_node_and_all_below_but_never_zookeeper() {
        let all = grants(&[("/", &[GrantVerb::Read])]);
        assert!(all.allow(GrantVerb::Read, "/a/b") && all.allow(GrantVerb::Read, "/"));
        assert!(!all.allow(GrantVerb::Children, "/a"));
        assert!(!all.allow(GrantVerb::Read, "/zookeeper") && !all.allow(GrantVerb::Read, "/zookeeper/plugins"));
        let some = grants(&[("/a", &[GrantVerb::Read])]);
        assert!(some.allow(GrantVerb::Read, "/a/b") && !some.allow(GrantVerb::Read, "/ab"));
    }

    #[test]
    fn only_what_is_asked_and_confirmed_holds() {
        let asked = grants(&[("/a", &[GrantVerb::Read, GrantVerb::Set]), ("/b/c", &[GrantVerb::Children])]);
        let confirmed = grants(&[("/a/x", &[GrantVerb::Read]), ("/b", &[GrantVerb::Children, GrantVerb::Delete])]);
        let both = asked.intersection(&confirmed);
        assert_eq!(both, grants(&[("/a/x", &[GrantVerb::Read]), ("/b/c", &[GrantVerb::Children])]));
    }

    #[test]
    fn the_mount_stands_for_each_place() {
        let asked = [Grant { path: "$mount/roles".into(), verbs: vec![GrantVerb::Read] }];
        let paths: Vec<_> = expand(&asked, &["/a", "/"]).into_iter().map(|grant| grant.path).collect();
        assert_eq!(paths, ["/a/roles", "/roles"]);
    }
}
