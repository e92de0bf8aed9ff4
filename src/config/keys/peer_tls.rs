//! Settings of the section `TLS between members`.

use super::values::{boolean, cipher_suites, client_auth, store_format, tls_versions};
use super::{Key, key, nothing};
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "sslQuorum",
        "peer_tls.enabled",
        "false",
        "TLS between members, with certificates on both sides; the same on all of them. Needs `ssl.quorum.keyStore.location` \
         and `ssl.quorum.trustStore.location`. Off, whoever reaches the peer port can read everything and speak as any member.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.wanted),
    ),
    key(
        "ssl.quorum.keyStore.location",
        "peer_tls.key_store",
        "",
        "This member's key and certificate chain, shown to members it connects to and to those that connect to it. Formats \
         as `ssl.keyStore.location`.",
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
        "Certificates of the CAs that members' certificates must come from: PEM or PKCS#12. Use a CA that signs for this \
         ensemble only: everyone with a certificate of it can speak as any member.",
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
        "`need`: no member connects to this one without a certificate of a trusted CA. `want`, `none`: one without can, and \
         then anyone who reaches the port.",
        |draft, _, value| {
            draft.peer_tls.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.hostnameVerification",
        "peer_tls.verify_names",
        "true",
        "Whether the certificate of a member that this one connects to must name the host in its `server.N` line, as a \
         subject alternative name; the common name alone does not count. Who connects to this one is never checked by name.",
        |draft, _, value| {
            let mut verify = true;
            boolean(value, &mut verify)?;
            draft.peer_tls.verify_names = Some(verify);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2; `ssl.quorum.enabledProtocols` goes before it.",
        |draft, _, value| {
            draft.peer_tls.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.enabledProtocols",
        "peer_tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2 or both with a comma.",
        |draft, _, value| {
            draft.peer_tls.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.quorum.ciphersuites",
        "peer_tls.cipher_suites",
        "all that are known",
        "As `ssl.ciphersuites`, between members.",
        |draft, name, value| {
            let (known, unknown) = cipher_suites(name, value)?;
            draft.peer_tls.cipher_suites = known;
            draft.unused.extend(unknown);
            Ok(())
        },
    ),
    nothing("portUnification", "Members speak TLS or they do not; change an ensemble over with all members stopped."),
    key(
        "sslQuorumReloadCertFiles",
        "peer_tls.reload",
        "false",
        "Every 10 seconds look whether key or trust store have changed, and use the new ones for new connections between \
         members; those that are there go on. A broken new file is logged and the old one stays.",
        |draft, _, value| boolean(value, &mut draft.peer_tls.reload),
    ),
    nothing(
        "ssl.quorum.*",
        "Not implemented; revocation lists are not fetched, and members that connect are not checked by name.",
    ),
];
