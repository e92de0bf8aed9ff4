//! ACLs: what an ACL allows to whom, and which ACLs are valid (ZooKeeperServer.checkACL, PrepRequestProcessor.fixupACL,
//! the authentication providers of ZooKeeper 3.9.5).
//!
//! An ACL protects one node, not the nodes below it. The identity `super` passes every ACL.

use super::{Fuel, Rules};
use crate::limits;
use crate::model::acl::{Acl, AclEntry, Identity};
use crate::model::control_plane::{CANARY, MODULES, PLUGINS, TRACE, VERSIONS};
use crate::model::{ErrorCode, Refusal, SessionId, acl, path};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// The ACL of nearly all nodes in most trees. Made once and shared.
static OPEN: LazyLock<Acl> = LazyLock::new(acl::open_unsafe);

/// The identities that an ACL is checked for, and their session.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) identities: &'a [Identity],
    pub(crate) session: SessionId,
}

impl Who<'_> {
    pub(crate) const NOBODY: Who<'static> = Who { identities: &[], session: SessionId::NONE };
}

/// Whether the ACL gives `who` one of the bits in `permissions`. Asks authenticators about the entries of their
/// schemes. Each question has a budget of its own, because no transaction is in the making.
pub(crate) fn allowed(rules: &Rules, list: &[AclEntry], permissions: i32, who: Who<'_>) -> bool {
    let ask = |held: &Identity, wanted: &Identity| {
        rules.schemes.get().matches(who.session, u64::MAX, &wanted.scheme, &held.id, &wanted.id).said == Ok(true)
    };
    allows(rules, list, permissions, who, ask)
}

/// As `allowed`, on the fuel budget of a transaction. The refusal is NOAUTH. If an authenticator that might have
/// allowed it cannot answer now, or no fuel is left to ask it, the refusal is the one of that failure.
pub(crate) fn require(
    rules: &Rules,
    list: &[AclEntry],
    permissions: i32,
    who: Who<'_>,
    fuel: &Fuel,
) -> Result<(), Refusal> {
    let schemes = rules.schemes.get();
    let mut unsaid = None;
    let ask = |held: &Identity, wanted: &Identity| {
        if unsaid.is_some() && fuel.left() == 0 {
            // Asking without fuel counts as a fault. A long ACL would count one fault for each of its entries.
            return schemes.known(&wanted.scheme, &held.id, &wanted.id) == Some(true);
        }
        let answered = schemes.matches(who.session, fuel.left_to_judge(), &wanted.scheme, &held.id, &wanted.id);
        fuel.settle(answered).unwrap_or_else(|refusal| {
            unsaid.get_or_insert(refusal);
            false
        })
    };
    match allows(rules, list, permissions, who, ask) {
        true => Ok(()),
        false => Err(unsaid.unwrap_or_else(|| ErrorCode::NoAuth.into())),
    }
}

/// `ask(held, wanted)`: whether the identity `held` satisfies the ACL id `wanted`.
fn allows(
    rules: &Rules,
    list: &[AclEntry],
    permissions: i32,
    who: Who<'_>,
    mut ask: impl FnMut(&Identity, &Identity) -> bool,
) -> bool {
    if rules.skip_acl || list.is_empty() || is_super(who.identities) {
        return true;
    }
    let held = Held::new(who.identities);
    let granted = |entry: &AclEntry| {
        entry.permissions & permissions != 0 && held.matches(rules, &entry.who, |held| ask(held, &entry.who))
    };
    list.iter().any(granted)
}

/// As `allowed`, without asking an authenticator. None: the answer depends on what an authenticator would say. For
/// callers that hold the state's lock.
pub(crate) fn known(rules: &Rules, list: &[AclEntry], permissions: i32, identities: &[Identity]) -> Option<bool> {
    if rules.skip_acl || list.is_empty() || is_super(identities) {
        return Some(true);
    }
    let held = Held::new(identities);
    let mut open = false;
    for entry in list.iter().filter(|entry| entry.permissions & permissions != 0) {
        let meant = |held: &Identity| {
            let known = rules.schemes.get().known(&entry.who.scheme, &held.id, &entry.who.id);
            open |= known.is_none();
            known == Some(true)
        };
        if held.matches(rules, &entry.who, meant) {
            return Some(true);
        }
    }
    (!open).then_some(false)
}

pub(crate) fn is_super(identities: &[Identity]) -> bool {
    identities.iter().any(|identity| identity.scheme == "super")
}

/// The ACL as it will be stored: with `auth` replaced by the identities that the caller has proven, and then without
/// duplicates. INVALIDACL for an empty ACL, an unknown scheme, a malformed id, or more than `limits::ACL_BYTES_MAX`.
/// Authenticators are asked on the fuel budget of a transaction.
pub(crate) fn fix_acl(rules: &Rules, who: Who<'_>, list: Option<&[AclEntry]>, fuel: &Fuel) -> Result<Acl, Refusal> {
    let list = list.filter(|list| !list.is_empty()).ok_or(ErrorCode::InvalidAcl)?;
    if *list == **OPEN {
        return Ok(OPEN.clone());
    }
    let mut stored = StoredAcl::default();
    for entry in list {
        match entry.who.scheme.as_str() {
            "world" if entry.who.id == "anyone" => stored.add(entry.permissions, &entry.who)?,
            "auth" => {
                let mut proven = who.identities.iter().filter(|who| authenticates(rules, &who.scheme)).peekable();
                if proven.peek().is_none() {
                    return Err(ErrorCode::InvalidAcl.into());
                }
                proven.try_for_each(|who| stored.add(entry.permissions, who))?;
            }
            _ => {
                if !stored.has(entry.permissions, &entry.who) {
                    check_form(rules, &entry.who, who.session, fuel)?;
                }
                stored.add(entry.permissions, &entry.who)?;
            }
        }
    }
    Ok(Arc::from(stored.entries))
}

/// The entries of an ACL that is put together. Each is there once.
#[derive(Default)]
struct StoredAcl<'a> {
    entries: Vec<AclEntry>,
    seen: HashSet<(i32, &'a Identity)>,
    bytes: usize,
}

impl<'a> StoredAcl<'a> {
    fn has(&self, permissions: i32, who: &'a Identity) -> bool {
        self.seen.contains(&(permissions, who))
    }

    /// Adds the entry, unless it is there already. INVALIDACL if the ACL becomes too long.
    fn add(&mut self, permissions: i32, who: &'a Identity) -> Result<(), Refusal> {
        if !self.seen.insert((permissions, who)) {
            return Ok(());
        }
        let entry = AclEntry { permissions, who: who.clone() };
        self.bytes += acl::bytes(std::slice::from_ref(&entry));
        if self.bytes > limits::ACL_BYTES_MAX {
            let text = format!(
                "an ACL has at most {} bytes, with what `auth` stands for counted in full",
                limits::ACL_BYTES_MAX
            );
            return Err(Refusal::new(ErrorCode::InvalidAcl, text));
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// The ACL as a client without ADMIN sees it: without the hashes of passwords.
pub(crate) fn masked(list: &[AclEntry]) -> Vec<AclEntry> {
    let mask = |entry: &AclEntry| match (entry.who.scheme.as_str(), entry.who.id.split_once(':')) {
        ("digest", Some((user, _))) => {
            AclEntry { permissions: entry.permissions, who: Identity::new("digest", format!("{user}:x")) }
        }
        _ => entry.clone(),
    };
    list.iter().map(mask).collect()
}

/// What whoAmI shows of an identity: the name without the proof.
pub(crate) fn user_name(identity: &Identity) -> &str {
    match identity.scheme.as_str() {
        // A scheme without a provider has no user names. `super` is such a scheme.
        "super" => "",
        "digest" => identity.id.split_once(':').map_or(&identity.id, |(user, _)| user),
        _ => &identity.id,
    }
}

/// Whether the holder of these identities may write the nodes that the server keeps about its plugins.
pub(crate) fn may_deploy(rules: &Rules, identities: &[Identity]) -> bool {
    is_super(identities) || rules.deploy_by_anyone && identities.iter().any(is_loopback)
}

/// Whether the identity says that its client runs on the machine of the member that it is connected to.
fn is_loopback(identity: &Identity) -> bool {
    identity.scheme == "ip" && identity.id.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the path is in the control plane: manifests, settings and everything else below `PLUGINS`, and modules.
pub(crate) fn is_control_plane(path: &str) -> bool {
    path.starts_with("/zookeeper/") && (path::is_within(path, PLUGINS) || path::is_within(path, MODULES))
}

/// Whether only those who may deploy read that node. Manifests, with the settings in them, and modules hold keys. Logs,
/// recordings and the remains of a failed plugin hold what clients wrote.
pub(crate) fn is_secret(path: &str) -> bool {
    if !path.starts_with("/zookeeper/") {
        return false;
    }
    if path::is_within(path, TRACE) {
        return true;
    }
    let of_plugin = path.strip_prefix(PLUGINS).and_then(|rest| rest.strip_prefix('/'));
    // A version on trial has the same nodes as the version in force, one level below.
    let what = of_plugin.and_then(|rest| rest.split('/').skip(1).find(|name| *name != CANARY));
    let secret_of_plugin = matches!(what, None | Some(VERSIONS | "log" | "recording" | "audit" | "faults"));
    of_plugin.is_some() && secret_of_plugin || path.strip_prefix(MODULES).is_some_and(|rest| rest.starts_with('/'))
}

/// The refusal of a write to the control plane by a client that may not deploy. The text says what to do about it.
pub(crate) fn deploy_refusal(path: &str) -> Refusal {
    Refusal::new(
        ErrorCode::NoAuth,
        format!(
            "{path}: only the superuser may change plugins. Start the server with \
             -D zookeeper.DigestAuthenticationProvider.superDigest=super:HASH, where HASH is the base64 of the SHA-1 \
             of \"super:PASSWORD\", and connect with --auth digest:super:PASSWORD"
        ),
    )
}

/// Whether identities of that scheme stand for a user, not for a place such as an IP address.
fn authenticates(rules: &Rules, scheme: &str) -> bool {
    match scheme {
        "digest" => true,
        "x509" => rules.x509_scheme_enabled,
        "sasl" => rules.sasl_scheme_enabled,
        _ => rules.schemes.get().proves(scheme),
    }
}

/// The identities that a whole ACL is checked for.
struct Held<'a> {
    identities: &'a [Identity],
    /// The identities of scheme `ip`, parsed at the first entry of that scheme. An ACL may have tens of thousands of
    /// them.
    addresses: OnceCell<Vec<ip::Address>>,
}

impl<'a> Held<'a> {
    fn new(identities: &'a [Identity]) -> Held<'a> {
        Held { identities, addresses: OnceCell::new() }
    }

    /// Whether one of the identities satisfies the ACL id `wanted`. `meant` answers for an identity of a scheme that is
    /// not built in.
    fn matches(&self, rules: &Rules, wanted: &Identity, meant: impl FnMut(&Identity) -> bool) -> bool {
        let mut held = self.identities.iter().filter(|identity| identity.scheme == wanted.scheme);
        match wanted.scheme.as_str() {
            "world" => wanted.id == "anyone",
            // The server itself calls controllers, so their identities need no proof.
            "digest" | "plugin" => held.any(|identity| identity.id == wanted.id),
            "ip" => ip::lies_in(self.addresses(), &wanted.id),
            "x509" => rules.x509_scheme_enabled && held.any(|identity| identity.id == wanted.id),
            "sasl" => {
                rules.sasl_scheme_enabled && held.any(|identity| identity.id == "super" || identity.id == wanted.id)
            }
            _ => held.any(meant),
        }
    }

    fn addresses(&self) -> &[ip::Address] {
        let parse = |identity: &Identity| ip::Address::parse(&identity.id).filter(|_| identity.scheme == "ip");
        self.addresses.get_or_init(|| self.identities.iter().filter_map(parse).collect())
    }
}

/// INVALIDACL if an ACL may not contain that id.
fn check_form(rules: &Rules, who: &Identity, session: SessionId, fuel: &Fuel) -> Result<(), Refusal> {
    let well_formed = match who.scheme.as_str() {
        "digest" => is_digest(&who.id),
        "ip" => ip::Network::parse(&who.id).is_some(),
        "plugin" => path::validate(&path::join("/", &who.id)).is_ok() && !who.id.contains('/'),
        "x509" => rules.x509_scheme_enabled && is_distinguished_name(&who.id),
        "sasl" => rules.sasl_scheme_enabled && is_principal(&who.id),
        scheme => match rules.schemes.get().check_id(session, fuel.left_to_judge(), scheme, &who.id) {
            Some(checked) => return fuel.settle(checked),
            None => false,
        },
    };
    if well_formed { Ok(()) } else { Err(ErrorCode::InvalidAcl.into()) }
}

/// `user:hash`. Split at colons as Java splits: empty parts at the end do not count.
fn is_digest(id: &str) -> bool {
    let parts = id.trim_end_matches(':');
    !parts.is_empty() && parts.split(':').count() == 2
}

/// The name of a certificate's subject: `CN=a, O=b`. Commas that are quoted or escaped do not separate.
fn is_distinguished_name(id: &str) -> bool {
    if id.trim().is_empty() {
        return true;
    }
    let mut escaped = false;
    let mut quoted = false;
    let is_comma = |c: char| {
        let separates = !escaped && !quoted && matches!(c, ',' | ';' | '+');
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        separates
    };
    id.split(is_comma).all(|part| part.split_once('=').is_some_and(|(name, _)| is_attribute_name(name.trim())))
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

/// A name without `@`, or `service/host@realm` with or without the host (KerberosName.java).
fn is_principal(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((name, realm)) => !realm.contains(['/', '@']) && name.matches('/').count() <= 1,
    }
}

/// Addresses and networks: `10.0.0.0/8`, `fe80::/10`.
mod ip {
    /// Address bytes from the left; IPv4 has 4, IPv6 has 16.
    pub(crate) struct Network {
        address: Address,
        bits: u32,
    }

    #[derive(Clone, Copy, PartialEq)]
    pub(crate) enum Address {
        V4(u32),
        V6(u128),
    }

    /// Whether one of the addresses lies in the network `wanted`. The network is parsed only if one of the addresses is
    /// of the same kind, IPv4 or IPv6.
    pub(crate) fn lies_in(addresses: &[Address], wanted: &str) -> bool {
        let is_v6 = wanted.contains(':');
        let mut of_its_kind = addresses.iter().filter(|address| matches!(address, Address::V6(_)) == is_v6).peekable();
        if of_its_kind.peek().is_none() {
            return false;
        }
        Network::parse(wanted).is_some_and(|network| of_its_kind.any(|address| network.contains(*address)))
    }

    impl Network {
        pub(crate) fn parse(text: &str) -> Option<Network> {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (Address::parse(address)?, Some(bits.parse::<u32>().ok()?)),
                None => (Address::parse(text)?, None),
            };
            let all = match address {
                Address::V4(_) => 32,
                Address::V6(_) => 128,
            };
            let bits = bits.unwrap_or(all);
            (bits <= all).then_some(Network { address, bits })
        }

        fn contains(&self, address: Address) -> bool {
            match (self.address, address) {
                (Address::V4(a), Address::V4(b)) => (a ^ b).checked_shr(32 - self.bits).unwrap_or(0) == 0,
                (Address::V6(a), Address::V6(b)) => (a ^ b).checked_shr(128 - self.bits).unwrap_or(0) == 0,
                _ => false,
            }
        }
    }

    impl Address {
        pub(crate) fn parse(text: &str) -> Option<Address> {
            if text.contains(':') { parse_v6(text).map(Address::V6) } else { parse_v4(text).map(Address::V4) }
        }
    }

    /// Parses in one pass over the bytes, because a check may meet tens of thousands of addresses.
    fn parse_v4(text: &str) -> Option<u32> {
        let (mut address, mut parts) = (0, 1);
        let (mut part, mut digits, mut signed) = (0, 0, false);
        for byte in text.bytes() {
            match byte {
                // Java's parseInt takes leading zeros and a plus sign.
                b'0'..=b'9' => {
                    part = part * 10 + u32::from(byte - b'0');
                    digits += 1;
                    if part > 255 {
                        return None;
                    }
                }
                b'+' if digits == 0 && !signed => signed = true,
                b'.' if digits > 0 && parts < 4 => {
                    address = address << 8 | part;
                    parts += 1;
                    (part, digits, signed) = (0, 0, false);
                }
                _ => return None,
            }
        }
        (parts == 4 && digits > 0).then_some(address << 8 | part)
    }

    fn parse_v6(text: &str) -> Option<u128> {
        match text.split_once("::") {
            None => {
                let (count, address) = segments(text)?;
                (count == 8).then_some(address)
            }
            Some((left, right)) => {
                if right.contains("::") {
                    return None;
                }
                let (left_count, left) = segments(left)?;
                let (right_count, right) = segments(right)?;
                if left_count + right_count >= 8 {
                    return None;
                }
                Some(left.checked_shl(16 * (8 - left_count)).unwrap_or(0) | right)
            }
        }
    }

    /// The number of segments of up to four hexadecimal digits, and their value.
    fn segments(text: &str) -> Option<(u32, u128)> {
        if text.is_empty() {
            return Some((0, 0));
        }
        let mut count = 0;
        let mut value: u128 = 0;
        for segment in text.split(':') {
            if segment.is_empty() || segment.len() > 4 || count == 8 {
                return None;
            }
            value = value << 16 | u128::from(u16::from_str_radix(segment, 16).ok()?);
            count += 1;
        }
        Some((count, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl::{ADMIN, ALL, READ, WRITE};

    fn rules() -> Rules {
        Rules::default()
    }

    /// `fix_acl` with a budget that no test here uses up.
    fn fix_acl(rules: &Rules, who: Who<'_>, list: Option<&[AclEntry]>) -> Result<Acl, Refusal> {
        super::fix_acl(rules, who, list, &Fuel::default())
    }

    fn who(identities: &[Identity]) -> Who<'_> {
        Who { identities, session: SessionId(1) }
    }

    fn entry(permissions: i32, scheme: &str, id: &str) -> AclEntry {
        AclEntry { permissions, who: Identity::new(scheme, id) }
    }

    #[test]
    fn an_acl_allows_its_identities_and_super() {
        let rules = rules();
        let alice = [Identity::new("ip", "127.0.0.1"), Identity::new("digest", "alice:h")];
        let list = [entry(READ, "world", "anyone"), entry(WRITE, "digest", "alice:h"), entry(ALL, "digest", "bob:h")];
        assert!(allowed(&rules, &list, READ, who(&[])));
        assert!(allowed(&rules, &list, WRITE, who(&alice)) && !allowed(&rules, &list, WRITE, who(&[])));
        assert!(!allowed(&rules, &list, ADMIN, who(&alice)) && allowed(&rules, &list, READ | ADMIN, who(&alice)));
        assert!(allowed(&rules, &list, ADMIN, who(&[Identity::new("super", "")])));
        assert!(allowed(&rules, &[], ADMIN, who(&[])), "an empty ACL allows everybody");
        assert!(allowed(&Rules { skip_acl: true, ..rules }, &list, ADMIN, who(&[])));
    }

    #[test]
    fn a_disabled_scheme_matches_no_identity() {
        let off = rules();
        let on = Rules { x509_scheme_enabled: true, sasl_scheme_enabled: true, ..rules() };
        for (scheme, id) in [("x509", "CN=a"), ("sasl", "a@B")] {
            let held = [Identity::new(scheme, id)];
            let list = [entry(READ, scheme, id)];
            assert!(allowed(&on, &list, READ, who(&held)) && !allowed(&off, &list, READ, who(&held)));
            assert!(fix_acl(&on, who(&[]), Some(&list)).is_ok() && fix_acl(&off, who(&[]), Some(&list)).is_err());
        }
        assert!(allowed(&on, &[entry(READ, "sasl", "x")], READ, who(&[Identity::new("sasl", "super")])));
    }

    #[test]
    fn an_acl_is_fixed_or_refused_before_it_is_stored() {
        let rules = rules();
        let held = [Identity::new("ip", "::1"), Identity::new("digest", "a:h"), Identity::new("digest", "b:h")];
        let fix = |list: &[AclEntry]| fix_acl(&rules, who(&held), Some(list)).map(|list| list.to_vec());
        assert_eq!(
            fix(&[entry(3, "auth", ""), entry(3, "auth", "")]),
            Ok(vec![entry(3, "digest", "a:h"), entry(3, "digest", "b:h")])
        );
        assert_eq!(fix_acl(&rules, who(&held[..1]), Some(&[entry(3, "auth", "")])), Err(ErrorCode::InvalidAcl.into()));
        assert_eq!(fix_acl(&rules, who(&held), None), Err(ErrorCode::InvalidAcl.into()));
        assert_eq!(fix_acl(&rules, who(&held), Some(&[])), Err(ErrorCode::InvalidAcl.into()));
        for (scheme, id) in
            [("digest", "a:b"), ("digest", ":b"), ("digest", "a:b:"), ("ip", "10.0.0.0/8"), ("ip", "::/0")]
        {
            assert!(fix(&[entry(1, scheme, id)]).is_ok(), "{scheme} {id}");
        }
        for (scheme, id) in [
            ("digest", "a"),
            ("digest", "a:"),
            ("digest", "a:b:c"),
            ("digest", ""),
            ("ip", "10.0.0/8"),
            ("ip", "10.0.0.0/33"),
            ("ip", "10.0.0.256"),
            ("ip", "1::2::3"),
            ("ip", "1:2:3:4:5:6:7:8:9"),
            ("ip", "::12345"),
            ("ip", "host"),
            ("world", "me"),
            ("super", ""),
            ("nobody", "knows"),
        ] {
            assert_eq!(fix(&[entry(1, scheme, id)]), Err(ErrorCode::InvalidAcl.into()), "{scheme} {id}");
        }
    }

    #[test]
    fn addresses_match_networks() {
        let lies_in = |held: &str, wanted: &str| ip::lies_in(&[ip::Address::parse(held).unwrap()], wanted);
        for (held, wanted) in [
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "010.+1.02.0003"),
            ("10.1.2.3", "0.0.0.0/0"),
            ("fe80::1", "fe80::/10"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("::1", "::/0"),
        ] {
            assert!(lies_in(held, wanted), "{held} in {wanted}");
        }
        for (held, wanted) in
            [("11.1.2.3", "10.0.0.0/8"), ("10.1.2.4", "10.1.2.3"), ("::1", "0.0.0.0/0"), ("ff80::1", "fe80::/10")]
        {
            assert!(!lies_in(held, wanted), "{held} not in {wanted}");
        }
        for malformed in
            ["", "1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.", ".1.2.3", "1.2.3.256", "1.2.3.++4", "1.2.3.4+", "-0.1.2.3"]
        {
            assert!(!lies_in("1.2.3.4", malformed), "{malformed}");
        }
    }

    #[test]
    fn a_client_may_have_ipv4_and_ipv6_addresses() {
        let held = [Identity::new("ip", "10.1.2.3"), Identity::new("digest", "::1"), Identity::new("ip", "fe80::1")];
        let allows = |id: &str| allowed(&rules(), &[entry(READ, "ip", id)], READ, who(&held));
        assert!(allows("10.0.0.0/8") && allows("fe80::/10"));
        assert!(!allows("11.0.0.0/8") && !allows("::1"));
    }

    #[test]
    fn names_and_paths_are_recognized() {
        assert!(
            is_distinguished_name("CN=a, O=\"b, c\"")
                && is_distinguished_name("CN=a\\,b")
                && !is_distinguished_name("a")
        );
        assert!(is_principal("a") && is_principal("a/h@R") && !is_principal("a/b/c@R") && !is_principal("a@b@c"));
        assert_eq!(masked(&[entry(1, "digest", "a:secret")]), [entry(1, "digest", "a:x")]);
        assert_eq!(user_name(&Identity::new("digest", "a:h")), "a");
        assert!(is_secret("/zookeeper/modules/x") && !is_secret("/zookeeper/modules"));
        for what in ["", "/log", "/recording", "/recording/0", "/audit", "/faults"] {
            assert!(is_secret(&format!("/zookeeper/plugins/p{what}")), "{what}");
            assert!(is_secret(&format!("/zookeeper/plugins/p/canary{what}")), "{what} of a version on trial");
        }
        assert!(is_secret("/zookeeper/plugins/p/versions/3") && !is_secret("/zookeeper/plugins"));
        assert!(!is_secret("/zookeeper/plugins/p/canary/counters") && !is_secret("/zookeeper/plugins/canary/counters"));
        assert!(!is_secret("/zookeeper/plugins/p/quarantine") && !is_secret("/plugins/p"));
        assert!(is_control_plane("/zookeeper/plugins") && !is_control_plane("/zookeeper/pluginsx"));
    }
}
