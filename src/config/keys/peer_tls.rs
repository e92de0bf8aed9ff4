//! Settings of the section `TLS between members`.

use super::values::{boolean, cipher_suites, client_auth, store_format, tls_versions};
use super::{Key, key, nothing};
use rustls::pki_types::ServerName;
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "sslQuorum",
        "peer_tls.enabled",
        "false",
        "Whether members use TLS between each other, with certificates on both sides. Set it to the same value on all \
         members. Needs `ssl.quorum.keyStore.location` and `ssl.quorum.trustStore.location`. Without TLS, everyone who \
         reaches the peer port can read all data and act as any member.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.wanted),
    ),
    key(
        "ssl.quorum.keyStore.location",
        "peer_tls.key_store",
        "",
        "This member's key and certificate chain. The member shows the certificate on connections in both directions. \
         The formats are those of `ssl.keyStore.location`.",
        |draft, _, value| {
            draft.peer_tls.key_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.keyStore.password",
        "peer_tls.key_store_password",
        "",
        "Password of the key store.",
        |draft, _, value| {
            draft.peer_tls.key_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.quorum.keyStore.passwordPath",
        "peer_tls.key_store_password_file",
        "",
        "File with the password of the key store.",
        |draft, _, value| {
            draft.peer_tls.key_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.quorum.keyStore.type", "peer_tls.key_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.peer_tls.key_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.quorum.trustStore.location",
        "peer_tls.trust_store",
        "",
        "Certificates of the CAs that sign the members' certificates: PEM or PKCS#12. Use a CA that signs only for \
         this ensemble: everyone with a certificate of this CA can act as any member.",
        |draft, _, value| {
            draft.peer_tls.trust_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.password",
        "peer_tls.trust_store_password",
        "",
        "Password of the trust store.",
        |draft, _, value| {
            draft.peer_tls.trust_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.passwordPath",
        "peer_tls.trust_store_password_file",
        "",
        "File with the password of the trust store.",
        |draft, _, value| {
            draft.peer_tls.trust_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.quorum.trustStore.type",
        "peer_tls.trust_store_type",
        "by extension",
        "PEM or PKCS12.",
        |draft, _, value| {
            draft.peer_tls.trust_store.format = Some(store_format(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.clientAuth",
        "peer_tls.client_auth",
        "need",
        "`need`: a member that connects to this one must show a certificate that a trusted CA has signed. `want`, \
         `none`: it need not, so everyone who reaches the port can connect.",
        |draft, _, value| {
            draft.peer_tls.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.hostnameVerification",
        "peer_tls.verify_names",
        "true",
        "Whether the certificate of a member must name the host of the member's `server.N` line, in both directions. \
         Only subject alternative names count, not the common name. `false`: every owner of a certificate of the CA can \
         speak as any member, unless the ensemble has a secret (`peerSecretFile`).",
        |draft, _, value| {
            let mut verify = true;
            boolean(value, &mut verify)?;
            draft.peer_tls.verify_names = Some(verify);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.allowedNames",
        "peer_tls.allowed_names",
        "",
        "Names separated by commas. A member that connects to this one may show a certificate with one of these names \
         instead of its own host's name: for one certificate that all members share.",
        |draft, _, value| {
            draft.peer_tls.allowed_names =
                value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
            match draft.peer_tls.allowed_names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
                Some(name) => Err(format!("`{name}` is neither a host name nor an address")),
                None => Ok(()),
            }
        },
    ),
    key(
        "ssl.quorum.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2. If `ssl.quorum.enabledProtocols` is set, that counts instead.",
        |draft, _, value| {
            draft.peer_tls.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.enabledProtocols",
        "peer_tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2, or both with a comma.",
        |draft, _, value| {
            draft.peer_tls.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.ciphersuites",
        "peer_tls.cipher_suites",
        "all that are known",
        "As `ssl.ciphersuites`, for connections between members.",
        |draft, name, value| {
            let (known, unknown) = cipher_suites(name, value)?;
            draft.peer_tls.cipher_suites = known;
            draft.unused.extend(unknown);
            Ok(())
        },
    ),
    nothing(
        "portUnification",
        "A member uses either TLS or plain connections. To change that, stop all members first.",
    ),
    key(
        "sslQuorumReloadCertFiles",
        "peer_tls.reload",
        "false",
        "Whether the server looks every 10 seconds whether the key store or the trust store has changed. New \
         connections between members then use the new files; existing connections stay. If a new file is broken, the \
         server logs that and goes on with the old one.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.reload),
    ),
    nothing(
        "ssl.quorum.*",
        "Not implemented. Certificate revocation lists are not fetched, and the names of members that connect to this \
         one are not checked.",
    ),
];
