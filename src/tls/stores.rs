//! Files with keys and certificates: PEM and PKCS#12.

use crate::config::{Secret, Store, StoreFormat};
use crate::limits;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why TLS does not work as it is configured: the file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub(crate) struct TlsError {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
}

/// The modification time and length of files, to see whether a file has changed. None: the file does not exist.
pub(crate) type Look = Vec<Option<(SystemTime, u64)>>;

/// The files' modification times and lengths now. A file may be missing for a moment while it is replaced.
pub(crate) fn look<'a>(stores: impl Iterator<Item = &'a Store>) -> Look {
    stores
        .map(|store| {
            let metadata = std::fs::metadata(&store.path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}

/// The key and the certificate chain of this server. Blocks on the file.
pub(crate) fn certified_key(store: &Store, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let refused = |what: String| TlsError { path: store.path.clone(), what };
    let (chain, key) = key_and_chain(store)?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| {
        refused(format!(
            "the private key cannot be used ({error}); use RSA of 2048 bits or more, ECDSA P-256 or P-384, Ed25519"
        ))
    })?;
    if let (Some(public), Some(certificate)) = (key.public_key(), chain.first())
        && super::trust::spki(certificate).is_some_and(|spki| spki != public.as_ref())
    {
        return Err(refused(
            "the private key is not the one of the first certificate; put the server's own first".into(),
        ));
    }
    // Not `CertifiedKey::from_der`, which parses the certificate with webpki: webpki cannot read X.509 version 1.
    Ok(CertifiedKey::new(chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |error: io::Error| TlsError { path: path.to_owned(), what: format!("cannot be read: {error}") };
    let size = std::fs::metadata(path).map_err(refused)?.len();
    if size > limits::CONFIG_FILE_BYTES_MAX {
        return Err(TlsError {
            path: path.to_owned(),
            what: format!("has {size} bytes; that is no store of certificates"),
        });
    }
    std::fs::read(path).map_err(refused)
}

type KeyAndChain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The certificate chain, from the server's own certificate towards its CA, and the key.
fn key_and_chain(store: &Store) -> Result<KeyAndChain, TlsError> {
    let refused = |what: &str| TlsError { path: store.path.clone(), what: what.to_owned() };
    let bytes = read(&store.path)?;
    let (chain, key) = match store.format {
        StoreFormat::Pem => {
            if bytes.windows(ENCRYPTED_KEY.len()).any(|window| window == ENCRYPTED_KEY) {
                return Err(refused(
                    "the private key is encrypted; `openssl pkcs8 -in A -out B` decrypts it, or use PKCS#12",
                ));
            }
            let key = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|_| refused("holds no private key in PEM; put key and certificates into one file"))?;
            (certificates(store, &bytes)?, key)
        }
        StoreFormat::Pkcs12 => {
            let opened = open_pkcs12(store, &bytes)?;
            let (_, pair) = opened.private_key_chain().ok_or_else(|| refused("holds no private key"))?;
            let chain = pair.chain().iter().map(|one| CertificateDer::from(one.as_der().to_vec())).collect();
            (chain, PrivatePkcs8KeyDer::from(pair.key().to_vec()).into())
        }
    };
    if chain.is_empty() {
        return Err(refused("holds no certificate; put key and certificates into one file"));
    }
    Ok((chain, key))
}

const ENCRYPTED_KEY: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// All certificates of a trust store.
pub(super) fn trusted(store: &Store) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    use p12_keystore::KeyStoreEntry;
    let bytes = read(&store.path)?;
    let found = match store.format {
        StoreFormat::Pem => certificates(store, &bytes)?,
        StoreFormat::Pkcs12 => {
            let opened = open_pkcs12(store, &bytes)?;
            let mut found = Vec::new();
            for (_, entry) in opened.entries() {
                match entry {
                    KeyStoreEntry::Certificate(one) => found.push(CertificateDer::from(one.as_der().to_vec())),
                    KeyStoreEntry::PrivateKeyChain(pair) => {
                        found.extend(pair.chain().iter().map(|one| CertificateDer::from(one.as_der().to_vec())));
                    }
                    KeyStoreEntry::Secret(_) => (),
                }
            }
            found
        }
    };
    if found.is_empty() {
        return Err(TlsError { path: store.path.clone(), what: "holds no certificate to trust".into() });
    }
    Ok(found)
}

fn certificates(store: &Store, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError { path: store.path.clone(), what: format!("is not PEM as it should be: {error}") })
}

fn open_pkcs12(store: &Store, bytes: &[u8]) -> Result<p12_keystore::KeyStore, TlsError> {
    let Secret(password) = &store.password;
    p12_keystore::KeyStore::from_pkcs12(bytes, password).map_err(|error| TlsError {
        path: store.path.clone(),
        what: format!("cannot be opened as PKCS#12; is the password right? ({error})"),
    })
}
