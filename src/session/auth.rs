//! Who a connection is: `addauth digest` and `ip`, certificates, and SASL's place.
//!
//! Rules are DigestAuthenticationProvider's and IPAuthenticationProvider's of ZooKeeper 3.9.5: digest accepts any
//! credential, since the name it proves is made of it; only an ACL decides what that name may do. Credentials are never
//! logged or kept.

use crate::model::{Identity, acl::AclEntry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest;
use std::net::IpAddr;
use std::sync::Arc;

/// Settings of authentication.
#[derive(Clone, Default)]
pub struct Authentication {
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`
    pub digest: DigestAlgorithm,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: `super:<base64>`. None: nobody is superuser by digest.
    pub super_digest: Option<String>,
    /// `zookeeper.X509AuthenticationProvider.superUser`: the certificate subject that is superuser.
    pub super_x509: Option<String>,
    /// `zookeeper.superUser[.n]`: SASL users that are superuser.
    pub super_sasl: Vec<String>,
    /// The mechanism behind opcode 102. None: every token is answered with null, as a ZooKeeper without JAAS file does.
    pub sasl: Option<Arc<dyn SaslMechanism>>,
    /// `zookeeper.allowSaslFailedClients`: a client that failed may stay without identity.
    pub sasl_failure_allowed: bool,
    /// `zookeeper.enforce.auth.schemes` where `enforce.auth.enabled`, or `sasl` for `sessionRequireClientSASLAuth`: who
    /// has proven none of these is disconnected on the first request. Empty: anyone may ask.
    pub required_schemes: Vec<String>,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Authentication { digest, required_schemes, sasl, .. } = self;
        write!(f, "Authentication({digest:?}, sasl: {}, required: {required_schemes:?})", sasl.is_some())
    }
}

/// A SASL mechanism; each connection starts an exchange of its own.
pub trait SaslMechanism: Send + Sync {
    fn start(&self) -> Box<dyn SaslExchange>;
}

/// One exchange: a pure state machine.
pub trait SaslExchange: Send {
    fn respond(&mut self, token: &[u8]) -> SaslStep;
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SaslStep {
    Challenge(Vec<u8>),
    /// The last token to the client, and who it is.
    Complete { token: Option<Vec<u8>>, user: String },
    Failed,
}

/// What an `addauth` comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The connection has these from now on.
    Proven(Vec<Identity>),
    /// AUTHFAILED, and the connection is closed.
    Failed,
}

/// The hash in digest identities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DigestAlgorithm {
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl DigestAlgorithm {
    /// By Java's names (MessageDigest), in any case, with or without the first dash.
    pub fn from_name(name: &str) -> Option<DigestAlgorithm> {
        Some(match name.to_ascii_uppercase().as_str() {
            "MD5" => DigestAlgorithm::Md5,
            "SHA" | "SHA1" | "SHA-1" => DigestAlgorithm::Sha1,
            "SHA224" | "SHA-224" => DigestAlgorithm::Sha224,
            "SHA256" | "SHA-256" => DigestAlgorithm::Sha256,
            "SHA384" | "SHA-384" => DigestAlgorithm::Sha384,
            "SHA512" | "SHA-512" => DigestAlgorithm::Sha512,
            "SHA3-224" => DigestAlgorithm::Sha3_224,
            "SHA3-256" => DigestAlgorithm::Sha3_256,
            "SHA3-384" => DigestAlgorithm::Sha3_384,
            "SHA3-512" => DigestAlgorithm::Sha3_512,
            _ => return None,
        })
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            DigestAlgorithm::Md5 => md5::Md5::digest(bytes).to_vec(),
            DigestAlgorithm::Sha1 => sha1::Sha1::digest(bytes).to_vec(),
            DigestAlgorithm::Sha224 => sha2::Sha224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_224 => sha3::Sha3_224::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_256 => sha3::Sha3_256::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_384 => sha3::Sha3_384::digest(bytes).to_vec(),
            DigestAlgorithm::Sha3_512 => sha3::Sha3_512::digest(bytes).to_vec(),
        }
    }

    /// `user:base64(hash(user:password))`. What has no colon is a user without a password.
    pub fn identity(self, credential: &str) -> String {
        let user = credential.split(':').next().unwrap_or_default();
        format!("{user}:{}", STANDARD.encode(self.hash(credential.as_bytes())))
    }
}

impl Authentication {
    /// What a connection is before it says anything: its address, and the subject of its certificate (RFC 2253).
    pub fn at_connect(&self, address: IpAddr, subject: Option<String>) -> Vec<Identity> {
        let mut identities = vec![Identity::new("ip", address.to_string())];
        if let Some(subject) = subject {
            if self.super_x509.as_ref() == Some(&subject) {
                identities.push(superuser());
            }
            identities.push(Identity::new("x509", subject));
        }
        identities
    }

    /// A client's `addauth`. `x509` needs no words: the certificate has spoken.
    pub fn add(&self, scheme: Option<&str>, credential: Option<&[u8]>, known: &[Identity], address: IpAddr) -> Verdict {
        match (scheme, credential) {
            (Some("digest"), Some(credential)) => {
                let name = self.digest.identity(&String::from_utf8_lossy(credential));
                let mut proven = Vec::new();
                if self.super_digest.as_ref() == Some(&name) {
                    proven.push(superuser());
                }
                proven.push(Identity::new("digest", name));
                Verdict::Proven(proven)
            }
            (Some("ip"), _) => Verdict::Proven(vec![Identity::new("ip", address.to_string())]),
            (Some("x509"), _) if known.iter().any(|identity| identity.scheme == "x509") => Verdict::Proven(Vec::new()),
            _ => Verdict::Failed,
        }
    }

    /// What a finished SASL exchange proves.
    pub fn sasl_identities(&self, user: String) -> Vec<Identity> {
        let is_super = self.super_sasl.contains(&user);
        let mut identities = vec![Identity::new("sasl", user)];
        if is_super {
            identities.push(superuser());
        }
        identities
    }

    /// Whether such a client may ask anything at all.
    pub fn admits(&self, identities: &[Identity]) -> bool {
        self.required_schemes.is_empty()
            || identities.iter().any(|identity| self.required_schemes.contains(&identity.scheme))
    }

    /// Whether SASL is among what is demanded: a failed exchange is then told with another code.
    pub fn requires_sasl(&self) -> bool {
        self.required_schemes.iter().any(|scheme| scheme == "sasl")
    }
}

/// Who may do everything.
pub fn superuser() -> Identity {
    Identity::new("super", "")
}

/// What whoAmI shows of an identity: of a digest only the user (AuthUtil.getUser).
pub fn shown(identity: &Identity) -> Identity {
    match identity.scheme.as_str() {
        "digest" => Identity::new("digest", identity.id.split(':').next().unwrap_or_default()),
        _ => identity.clone(),
    }
}

/// Whether events about a node with that list may reach somebody (READ).
pub fn may_hear(rules: &crate::pipeline::Rules, acl: &[AclEntry], identities: &[Identity]) -> bool {
    crate::pipeline::authorize::allowed(rules, acl, crate::model::acl::READ, identities)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn add(authentication: &Authentication, scheme: &str, credential: &str) -> Verdict {
        authentication.add(Some(scheme), Some(credential.as_bytes()), &[], HERE)
    }

    #[test]
    fn digests_are_zookeepers() {
        // As ZooKeeper's documentation of superDigest has it.
        assert_eq!(DigestAlgorithm::Sha1.identity("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(DigestAlgorithm::Sha1.identity("a:b:c").split(':').next(), Some("a"));
        assert_eq!(DigestAlgorithm::Sha1.identity("alice").split(':').next(), Some("alice"));
        assert_eq!(DigestAlgorithm::from_name("sha-512"), Some(DigestAlgorithm::Sha512));
        assert_eq!(DigestAlgorithm::from_name("crc"), None);
    }

    #[test]
    fn the_superuser_is_named_by_its_digest() {
        let authentication = Authentication {
            super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()),
            ..Authentication::default()
        };
        let Verdict::Proven(proven) = add(&authentication, "digest", "super:test") else { panic!("digest never fails") };
        assert!(proven.contains(&superuser()) && proven.len() == 2);
        let Verdict::Proven(proven) = add(&authentication, "digest", "super:wrong") else {
            panic!("digest never fails")
        };
        assert!(!proven.contains(&superuser()));
    }

    #[test]
    fn other_schemes_fail() {
        let authentication = Authentication::default();
        for scheme in ["world", "auth", "super", "sasl", "x509", "", "nope"] {
            assert_eq!(add(&authentication, scheme, "anyone"), Verdict::Failed, "{scheme}");
        }
        assert_eq!(authentication.add(None, Some(b"x"), &[], HERE), Verdict::Failed);
        assert_eq!(authentication.add(Some("digest"), None, &[], HERE), Verdict::Failed);
        assert_eq!(add(&authentication, "ip", "1.2.3.4"), Verdict::Proven(vec![Identity::new("ip", "127.0.0.1")]));
    }

    #[test]
    fn required_schemes() {
        let authentication = Authentication { required_schemes: vec!["sasl".into()], ..Authentication::default() };
        assert!(!authentication.admits(&authentication.at_connect(HERE, None)));
        assert!(authentication.admits(&authentication.sasl_identities("bob".into())));
        assert!(authentication.requires_sasl());
    }

    #[test]
    fn whoami_shows_no_hash() {
        assert_eq!(shown(&Identity::new("digest", "alice:abc=")), Identity::new("digest", "alice"));
    }
}
