//! Certificates and keys, for TLS with clients (`session::tls`) and between members (`peer::tls`).
//!
//! webpki verifies certificates. Besides, two kinds are accepted that Java accepts and webpki does not:
//! - a certificate that is in the trust store itself;
//! - a certificate of X.509 version 1 that a trusted CA has signed directly. `openssl x509 -req` without extensions
//!   makes such certificates.
//!
//! Neither kind can sign other certificates, so only that one party is let in. What goes wrong at the start is one
//! sentence that names the file.
//!
//! | file | what |
//! |---|---|
//! | `stores` | files with keys and certificates |
//! | `subject` | the subject of a certificate, as ACLs name it |
//! | `trust` | whether the other side's certificate is valid |

mod stores;
mod subject;
mod trust;

pub(crate) use stores::{Look, TlsError, certified_key, look};
pub(crate) use subject::{names, subject};
pub(crate) use trust::{ClientCertificates, ServerCertificates};

use crate::config::{TlsVersions, cipher_suites};
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The cryptography, with the cipher suites of these IANA names; with all suites if `names` is empty.
pub(crate) fn provider(names: &[String]) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !names.is_empty() {
        provider.cipher_suites.retain(|suite| names.contains(&cipher_suites::iana_name(suite)));
    }
    Arc::new(provider)
}

/// The TLS versions as rustls names them.
pub(crate) fn versions(enabled: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    versions.extend(enabled.v1_3.then_some(&rustls::version::TLS13));
    versions.extend(enabled.v1_2.then_some(&rustls::version::TLS12));
    versions
}
