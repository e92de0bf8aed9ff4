//! Whether the other side's certificate is valid. `tls` says which certificates are.

use super::stores::{self, TlsError};
use crate::config::{ClientAuth, Store};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

/// Verifies the certificates of clients and members that connect to this server.
#[derive(Debug)]
pub(crate) struct ClientCertificates {
    webpki: Arc<dyn ClientCertVerifier>,
    trust: Trust,
}

impl ClientCertificates {
    /// `asked`: whether a certificate must be shown. Blocks on the store's file.
    pub(crate) fn new(
        store: &Store,
        asked: ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientCertificates, TlsError> {
        let trust = Trust::new(store, provider)?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&trust.roots), Arc::clone(provider));
        let builder = if asked == ClientAuth::Want { builder.allow_unauthenticated() } else { builder };
        let webpki = builder.build().map_err(|error| TlsError {
            path: store.path.clone(),
            what: format!("cannot be used to judge clients: {error}"),
        })?;
        Ok(ClientCertificates { webpki, trust })
    }
}

/// Verifies the certificates of members that this one connects to.
#[derive(Debug)]
pub(crate) struct ServerCertificates {
    trust: Trust,
    names: bool,
}

impl ServerCertificates {
    /// `names`: whether a certificate must name the host that was dialed. Blocks on the store's file.
    pub(crate) fn new(
        store: &Store,
        names: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ServerCertificates, TlsError> {
        Ok(ServerCertificates { trust: Trust::new(store, provider)?, names })
    }
}

/// The certificates of a trust store, and the signature algorithms.
#[derive(Debug)]
struct Trust {
    roots: Arc<RootCertStore>,
    anchors: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    fn new(store: &Store, provider: &CryptoProvider) -> Result<Trust, TlsError> {
        let anchors = stores::trusted(store)?;
        let mut roots = RootCertStore::empty();
        for anchor in &anchors {
            // webpki cannot read every certificate. Such a certificate may still be the other side's own (`directly`).
            let _ = roots.add(anchor.clone());
        }
        if roots.is_empty() {
            return Err(TlsError {
                path: store.path.clone(),
                what: "holds no certificate that could be a CA's".to_owned(),
            });
        }
        Ok(Trust { roots: Arc::new(roots), anchors, algorithms: provider.signature_verification_algorithms })
    }

    /// Whether the certificate is one of the two kinds that Java accepts and webpki does not (`tls`).
    fn directly(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        if now < validity.not_before.timestamp() || now > validity.not_after.timestamp() {
            return false;
        }
        if self.anchors.iter().any(|anchor| anchor == certificate) {
            return true;
        }
        parsed.version() == X509Version::V1
            && self.anchors.iter().any(|anchor| self.signed_by(anchor, &parsed, certificate))
    }

    fn signed_by(&self, anchor: &[u8], parsed: &X509Certificate<'_>, certificate: &[u8]) -> bool {
        let Ok((_, issuer)) = X509Certificate::from_der(anchor) else { return false };
        let may_sign = issuer.version() == X509Version::V1 || issuer.is_ca();
        if !may_sign || issuer.subject().as_raw() != parsed.issuer().as_raw() {
            return false;
        }
        let Some((signed, rest)) = outer(certificate) else { return false };
        let Some((_, algorithm, _, _)) = der(rest) else { return false };
        self.algorithms
            .all
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == algorithm)
            .any(|known| verifies(*known, issuer.public_key().raw, signed, &parsed.signature_value.data))
    }

    fn tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms).or_else(|error| {
            // webpki cannot read X.509 version 1. The key is then taken from the certificate here.
            let key = spki(certificate).ok_or(CertificateError::BadEncoding)?;
            let possible = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
            let right = possible
                .flat_map(|(_, known)| known.iter())
                .any(|known| verifies(*known, key, message, signed.signature()));
            if right { Ok(HandshakeSignatureValid::assertion()) } else { Err(error) }
        })
    }

    fn tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(spki(certificate).ok_or(CertificateError::BadEncoding)?);
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.webpki.verify_client_cert(certificate, intermediates, now).or_else(|error| {
            if self.trust.directly(certificate, now) { Ok(ClientCertVerified::assertion()) } else { Err(error) }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ServerCertificates {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate);
        let chain = parsed.as_ref().map_err(Clone::clone).and_then(|parsed| {
            let algorithms = self.trust.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(parsed, &self.trust.roots, intermediates, now, algorithms)
        });
        match chain {
            Err(error) if !self.trust.directly(certificate, now) => return Err(error),
            _ => (),
        }
        if self.names {
            verify_server_name(&parsed?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Whether `signature` over `message` was made with the key of this SubjectPublicKeyInfo.
fn verifies(
    algorithm: &dyn rustls::pki_types::SignatureVerificationAlgorithm,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let Some((_, inside, _, _)) = der(spki) else { return false };
    let Some((_, key_algorithm, _, rest)) = der(inside) else { return false };
    let Some((_, bits, _, _)) = der(rest) else { return false };
    // A BIT STRING begins with the number of unused bits. A key has whole bytes.
    let Some(key) = bits.strip_prefix(&[0]) else { return false };
    algorithm.public_key_alg_id().as_ref() == key_algorithm
        && algorithm.verify_signature(key, message, signature).is_ok()
}

/// The SubjectPublicKeyInfo of a certificate: the element behind version (which is optional), serial number, algorithm,
/// issuer, validity and subject.
pub(super) fn spki(certificate: &[u8]) -> Option<&[u8]> {
    let (_, inside, _, _) = der(certificate)?;
    let (_, mut fields, _, _) = der(inside)?;
    const VERSION: u8 = 0xa0;
    let (first, ..) = der(fields)?;
    for _ in 0..if first == VERSION { 6 } else { 5 } {
        (_, _, _, fields) = der(fields)?;
    }
    der(fields).map(|(_, _, whole, _)| whole)
}

/// The signed part of a certificate, and the bytes behind it: algorithm and signature.
fn outer(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, inside, _, _) = der(certificate)?;
    let (_, _, signed, rest) = der(inside)?;
    Some((signed, rest))
}

/// One DER element: its tag, its contents, the whole element, and the bytes behind it.
type Der<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// The first element of `bytes`. None: the bytes are no DER.
fn der(bytes: &[u8]) -> Option<Der<'_>> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..0x80 => (usize::from(*short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (contents, after) = rest.split_at_checked(length)?;
    Some((*tag, contents, bytes.get(..bytes.len() - after.len())?, after))
}
