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

use crate::config::{TlsVersions, cipher_suites};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The cryptography, with the cipher suites of these IANA names, or with all suites if `names` is empty.
pub fn provider(names: &[String]) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !names.is_empty() {
        provider.cipher_suites.retain(|suite| names.contains(&cipher_suites::iana_name(suite)));
    }
    Arc::new(provider)
}

pub fn versions(enabled: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    versions.extend(enabled.v1_3.then_some(&rustls::version::TLS13));
    versions.extend(enabled.v1_2.then_some(&rustls::version::TLS12));
    versions
}
