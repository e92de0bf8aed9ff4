//! Who has signed a component (an ed25519 signature over its bytes), and whose signatures a server trusts.
//!
//! A signature is a file `NAME.wasm.sig` beside the component, and later a part of the manifest. It covers the bytes of
//! the component, so other tools can make and check it as well:
//!
//! ```text
//! openssl pkeyutl -sign -rawin -inkey key.pem -in NAME.wasm | base64 -w0
//! ```
//!
//! A server with trusted signers loads only components that one of them has signed. A server without trusted signers
//! checks a signature only if there is one. Settings and grants are not signed: the client that deploys chooses them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

const PUBLIC_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// The bytes before the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const PUBLIC_HEADER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A signature in a file and in a manifest: JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The public key, 32 bytes in base64. A server may know the key by a name.
    pub(crate) signer: String,
    /// 64 bytes in base64.
    pub(crate) ed25519: String,
}

impl Signature {
    /// Checks the form alone. The error names what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        public_key(&self.signer).map_err(|error| format!("signature.signer: {error}"))?;
        match BASE64.decode(&self.ed25519) {
            Ok(bytes) if bytes.len() == SIGNATURE_BYTES => Ok(()),
            _ => Err(format!("signature.ed25519: {SIGNATURE_BYTES} bytes in base64 are required")),
        }
    }

    /// Checks that `signer` has signed these bytes.
    pub(crate) fn verify(&self, component: &[u8]) -> Result<(), String> {
        self.check()?;
        let key = public_key(&self.signer)?;
        let signature = BASE64.decode(&self.ed25519).unwrap_or_default();
        UnparsedPublicKey::new(&ED25519, key).verify(component, &signature).map_err(|_| {
            format!(
                "signature: it is not {}'s of this component: sign these very bytes (`wasmkeeper plugin sign`)",
                self.signer
            )
        })
    }
}

/// A private key.
pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    /// A new key, and the text of a PEM file with it (PKCS #8).
    pub(crate) fn generate() -> Result<(Key, String), String> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| "no randomness for a key".to_owned())?;
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(&document));
        Ok((Key::of_der(document.as_ref())?, pem))
    }

    /// Reads a PEM file with `PRIVATE KEY`, as `wasmkeeper plugin keygen` and `openssl genpkey -algorithm ed25519`
    /// write it.
    pub(crate) fn of_pem(pem: &str) -> Result<Key, String> {
        let wanted = "a PEM file with an ed25519 PRIVATE KEY is required: `wasmkeeper plugin keygen` makes one";
        let der = pem_body(pem, "PRIVATE KEY").ok_or_else(|| wanted.to_owned())?;
        Key::of_der(&der).map_err(|_| wanted.to_owned())
    }

    fn of_der(der: &[u8]) -> Result<Key, String> {
        // Keys that openssl writes do not repeat the public key.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Key).map_err(|error| error.to_string())
    }

    /// The public key in base64, as servers are configured with it.
    pub(crate) fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }

    pub(crate) fn sign(&self, component: &[u8]) -> Signature {
        Signature { signer: self.public(), ed25519: BASE64.encode(self.0.sign(component)) }
    }
}

/// The signers that a server trusts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Signers(Vec<Signer>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Signer {
    /// The signer's name, for people.
    name: String,
    /// The public key in base64.
    key: String,
}

impl Signers {
    /// Parses `name=KEY,name=KEY`. A key is base64 of 32 bytes, or of a SubjectPublicKeyInfo. The error is a sentence.
    pub(crate) fn parse(text: &str) -> Result<Signers, String> {
        let one = |part: &str| {
            let (name, key) = part.split_once('=').ok_or("each is a name, = and a key: ops=MCowBQYDK2Vw...")?;
            let key = public_key(key.trim()).map_err(|error| format!("the key of {name}: {error}"))?;
            Ok(Signer { name: name.trim().into(), key: BASE64.encode(key) })
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(one)
            .collect::<Result<_, String>>()
            .map(Signers)
    }

    /// Whether a component needs a signature.
    pub(crate) fn demand(&self) -> bool {
        !self.0.is_empty()
    }

    /// Checks that a component with this signature may run. The error is a sentence that says what to do.
    pub(crate) fn judge(&self, signature: Option<&Signature>, component: &[u8]) -> Result<(), String> {
        let Some(signature) = signature else {
            return match self.demand() {
                false => Ok(()),
                true => Err(format!(
                    "signature: this server runs components only that {} signed: sign it with `wasmkeeper plugin sign` and deploy \
                     it with --signature",
                    self.names()
                )),
            };
        };
        signature.verify(component)?;
        match self.demand() && self.name(&signature.signer).is_none() {
            false => Ok(()),
            true => Err(format!(
                "signature: {} is none of the signers that this server trusts: {}",
                signature.signer,
                self.names()
            )),
        }
    }

    /// The name of a trusted signer.
    pub(crate) fn name(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|signer| signer.key == key).map(|signer| signer.name.as_str())
    }

    fn names(&self) -> String {
        self.0.iter().map(|signer| signer.name.as_str()).collect::<Vec<_>>().join(" or ")
    }
}

/// The 32 bytes of a public key, from base64 of them or of a SubjectPublicKeyInfo.
fn public_key(text: &str) -> Result<[u8; PUBLIC_BYTES], String> {
    let bytes = BASE64.decode(text).unwrap_or_default();
    let key = bytes.strip_prefix(PUBLIC_HEADER.as_slice()).unwrap_or(&bytes);
    key.try_into().map_err(|_| format!("an ed25519 public key is {PUBLIC_BYTES} bytes in base64"))
}

/// The bytes between the `BEGIN` and `END` lines of a PEM file that have this label.
fn pem_body(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    BASE64.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The key is of `openssl genpkey -algorithm ed25519`, its public key of `openssl pkey -pubout`, and the signature
    // of "component" of `openssl pkeyutl -sign -rawin`.
    const OPENSSL_KEY: &str = include_str!("../../../tests/data/plugin-signing/openssl.pem");
    const OPENSSL_PUBLIC: &str = include_str!("../../../tests/data/plugin-signing/openssl.pub");
    const OPENSSL_SIGNATURE: &str = include_str!("../../../tests/data/plugin-signing/component.sig");

    #[test]
    fn our_signatures_equal_those_of_openssl() {
        let key = Key::of_pem(OPENSSL_KEY).unwrap();
        let signature = key.sign(b"component");
        assert_eq!(signature.ed25519, OPENSSL_SIGNATURE.trim());
        assert_eq!(signature.verify(b"component"), Ok(()));
        let body = pem_body(OPENSSL_PUBLIC, "PUBLIC KEY").unwrap();
        let signers = Signers::parse(&format!("ops={}", BASE64.encode(body))).unwrap();
        assert_eq!(signers.name(&key.public()), Some("ops"));
        assert_eq!(signers.judge(Some(&signature), b"component"), Ok(()));
    }

    #[test]
    fn wrong_and_untrusted_signatures_are_refused() {
        let ((ours, pem), (theirs, _)) = (Key::generate().unwrap(), Key::generate().unwrap());
        assert_eq!(Key::of_pem(&pem).unwrap().public(), ours.public());
        let signers = Signers::parse(&format!("ops={}, ", ours.public())).unwrap();
        let (good, other) = (ours.sign(b"component"), theirs.sign(b"component"));
        for (signature, component, words) in [
            (None, &b"component"[..], "only that ops signed"),
            (Some(&other), b"component", "none of the signers that this server trusts: ops"),
            (Some(&good), b"componenT", "of this component"),
            (Some(&Signature { signer: ours.public(), ..other.clone() }), b"component", "of this component"),
            (Some(&Signature { ed25519: "x".into(), ..good.clone() }), b"component", "64 bytes in base64"),
        ] {
            let refused = signers.judge(signature, component).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        // A server without trusted signers needs no signature, but a signature that is there must be right.
        assert_eq!(Signers::default().judge(None, b"component"), Ok(()));
        assert_eq!(Signers::default().judge(Some(&other), b"component"), Ok(()));
        assert!(Signers::default().judge(Some(&other), b"x").is_err());
    }

    #[test]
    fn settings_that_name_no_keys_are_refused() {
        for bad in ["ops", "ops=", "ops=AAAA", "=x"] {
            assert!(Signers::parse(bad).is_err(), "{bad}");
        }
        assert!(!Signers::parse("").unwrap().demand());
        assert!(Key::of_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
    }
}
