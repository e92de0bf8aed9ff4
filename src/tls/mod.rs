//! Certificates and keys: what TLS towards clients (`session::tls`) and between members (`peer::tls`) have in common.
//!
//! Certificates are judged by webpki. Beyond it we accept what Java accepts and webpki does not: a certificate that
//! stands in the trust store itself, and one of X.509 version 1, as `openssl x509 -req` makes them without extensions, if
//! a trusted CA has signed it directly. Neither can sign others, so nothing more than that one party is let in. What can
//! go wrong at start is one sentence with the file in it.
//!
//! | file | what |
//! |---|---|
//! | `stores` | files with keys and certificates |
//! | `trust` | whether the other side's certificate is good |

mod stores;
mod trust;

pub use stores::{Look, TlsError, certified_key, look};
pub use trust::{ClientCertificates, ServerCertificates};

use crate::config::TlsVersions;
use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// The cryptography, with those cipher suites only; empty: with all.
pub fn provider(cipher_suites: &[String]) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| cipher_suites.contains(&suite_name(suite)));
    }
    Arc::new(provider)
}

pub fn versions(enabled: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    versions.extend(enabled.v1_3.then_some(&rustls::version::TLS13));
    versions.extend(enabled.v1_2.then_some(&rustls::version::TLS12));
    versions
}

/// Whether `ssl.ciphersuites` may name it.
pub fn known_cipher_suite(name: &str) -> bool {
    rustls::crypto::ring::ALL_CIPHER_SUITES.iter().any(|suite| suite_name(suite) == name)
}

/// The IANA name; rustls writes TLS 1.3's with a prefix of its own.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_suites_by_name() {
        assert!(known_cipher_suite("TLS_AES_256_GCM_SHA384"));
        assert!(known_cipher_suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"));
        assert!(!known_cipher_suite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"));
    }
}
