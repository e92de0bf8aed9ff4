//! Who a client is: its address, its certificate, `addauth`, and what SASL proves.
//!
//! The rules are those of DigestAuthenticationProvider and IPAuthenticationProvider in ZooKeeper 3.9.5. The scheme
//! digest accepts every credential, since the identity that it proves is a hash of the credential. Only an ACL decides
//! what that identity may do. Credentials are never logged or kept.

use crate::config::Auth;
use crate::limits::IDENTITY_BYTES_MAX;
use crate::model::{AclEntry, Identity, acl};
use crate::pipeline::Rules;
use crate::pipeline::authorize::{self, Who};
use std::net::IpAddr;

/// The result of an `addauth`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    /// The connection has these identities from now on.
    Proven(Vec<Identity>),
    /// The client gets AUTHFAILED, and the connection closes.
    Failed,
}

/// A connection's identities before its first message: its address, and the subject of its certificate (RFC 2253)
/// unless the subject is too long.
pub(crate) fn at_connect(auth: &Auth, address: IpAddr, subject: Option<String>) -> Vec<Identity> {
    let mut identities = vec![Identity::new("ip", address.to_string())];
    if let Some(subject) = subject {
        if auth.x509_super_user.as_ref() == Some(&subject) {
            identities.push(superuser());
        }
        match subject.len() <= IDENTITY_BYTES_MAX {
            true => identities.push(Identity::new("x509", subject)),
            false => tracing::warn!(
                %address,
                "the subject of a client's certificate has more than {IDENTITY_BYTES_MAX} bytes, and is no identity"
            ),
        }
    }
    identities
}

/// A client's `addauth`. `known`: the identities proven so far. The scheme `x509` succeeds if the certificate has
/// proven one.
pub(crate) fn add(
    auth: &Auth,
    scheme: Option<&str>,
    credential: Option<&[u8]>,
    known: &[Identity],
    address: IpAddr,
) -> Added {
    match (scheme, credential) {
        (Some("digest"), Some(credential)) if auth.digest_enabled => {
            let name = auth.digest_algorithm.identity(&String::from_utf8_lossy(credential));
            let mut proven = Vec::new();
            if auth.super_digest.as_ref() == Some(&name) {
                proven.push(superuser());
            }
            proven.push(Identity::new("digest", name));
            Added::Proven(proven)
        }
        (Some("ip"), _) => Added::Proven(vec![Identity::new("ip", address.to_string())]),
        (Some("x509"), _) if known.iter().any(|identity| identity.scheme == "x509") => Added::Proven(Vec::new()),
        _ => Added::Failed,
    }
}

/// The identities that a finished SASL exchange proves.
pub(crate) fn sasl_identities(auth: &Auth, user: String) -> Vec<Identity> {
    let is_super = auth.sasl_super_users.contains(&user);
    let mut identities = vec![Identity::new("sasl", user)];
    if is_super {
        identities.push(superuser());
    }
    identities
}

/// Whether a client with these identities may send requests (AuthenticationHelper.enforceAuthentication). If SASL is
/// required, the list of required schemes does not count.
pub(crate) fn admits(auth: &Auth, identities: &[Identity]) -> bool {
    let has = |scheme: &str| identities.iter().any(|identity| identity.scheme == scheme);
    if auth.require_sasl {
        return has("sasl");
    }
    auth.enforce_schemes.is_empty() || auth.enforce_schemes.iter().any(|scheme| has(scheme))
}

/// Whether SASL is required. A failed exchange is then answered with another error code.
pub(crate) fn requires_sasl(auth: &Auth) -> bool {
    auth.require_sasl || auth.enforce_schemes.iter().any(|scheme| scheme == "sasl")
}

/// The identity that may do everything.
pub(crate) fn superuser() -> Identity {
    Identity::new("super", "")
}

/// Whether a client may get events about a node with that ACL: it needs READ.
pub(crate) fn may_hear(rules: &Rules, list: &[AclEntry], who: Who<'_>) -> bool {
    authorize::allowed(rules, list, acl::READ, who)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn auth() -> Auth {
        crate::config::Config::default().auth
    }

    fn add_text(auth: &Auth, scheme: &str, credential: &str) -> Added {
        add(auth, Some(scheme), Some(credential.as_bytes()), &[], HERE)
    }

    #[test]
    fn the_superuser_is_named_by_its_digest() {
        // From ZooKeeper's documentation of superDigest.
        let auth = Auth { super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()), ..auth() };
        let Added::Proven(proven) = add_text(&auth, "digest", "super:test") else { panic!("digest never fails") };
        assert!(proven.contains(&superuser()) && proven.len() == 2);
        let Added::Proven(proven) = add_text(&auth, "digest", "super:wrong") else { panic!("digest never fails") };
        assert!(!proven.contains(&superuser()));
    }

    #[test]
    fn other_schemes_fail() {
        let auth = auth();
        for scheme in ["world", "auth", "super", "sasl", "x509", "", "nope"] {
            assert_eq!(add_text(&auth, scheme, "anyone"), Added::Failed, "{scheme}");
        }
        assert_eq!(add(&auth, None, Some(b"x"), &[], HERE), Added::Failed);
        assert_eq!(add(&auth, Some("digest"), None, &[], HERE), Added::Failed);
        assert_eq!(add_text(&auth, "ip", "1.2.3.4"), Added::Proven(vec![Identity::new("ip", "127.0.0.1")]));
        let without = Auth { digest_enabled: false, ..auth };
        assert_eq!(add_text(&without, "digest", "a:b"), Added::Failed);
    }

    #[test]
    fn a_certificate_is_an_identity() {
        let auth = Auth { x509_super_user: Some("CN=root".into()), ..auth() };
        let known = at_connect(&auth, HERE, Some("CN=bob".into()));
        assert_eq!(known, [Identity::new("ip", "127.0.0.1"), Identity::new("x509", "CN=bob")]);
        assert_eq!(add(&auth, Some("x509"), None, &known, HERE), Added::Proven(Vec::new()));
        assert!(at_connect(&auth, HERE, Some("CN=root".into())).contains(&superuser()));
        assert_eq!(at_connect(&auth, HERE, Some("CN=".to_owned() + &"o".repeat(1024))).len(), 1);
    }

    #[test]
    fn required_schemes() {
        let auth = Auth { require_sasl: true, ..auth() };
        assert!(!admits(&auth, &at_connect(&auth, HERE, None)));
        assert!(admits(&auth, &sasl_identities(&auth, "bob".into())));
        assert!(requires_sasl(&auth));
        let both = Auth { enforce_schemes: vec!["digest".into()], ..auth.clone() };
        assert!(admits(&both, &sasl_identities(&both, "bob".into())));
        assert!(!admits(&both, &[Identity::new("digest", "alice:x")]));
        let auth = Auth { require_sasl: false, enforce_schemes: vec!["digest".into(), "sasl".into()], ..auth };
        assert!(admits(&auth, &[Identity::new("digest", "alice:x")]));
        assert!(!admits(&auth, &[Identity::new("ip", "127.0.0.1")]));
    }
}
