//! Settings of the section `TLS for clients`.

use super::values::{boolean, cipher_suites, client_auth, number, store_format, tls_versions};
use super::{Key, key, nothing, silent};
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "ssl.keyStore.location",
        "tls.key_store",
        "",
        "The server's key and certificate chain: a PEM file (`.pem`: key and chain in one) or PKCS#12 (`.p12`, `.pfx`). \
         JKS and BCFKS are refused: `keytool -importkeystore -srckeystore A.jks -destkeystore A.p12 -deststoretype \
         PKCS12` converts.",
        |draft, _, value| {
            draft.key_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.keyStore.password", "tls.key_store_password", "", "Password of the key store.", |draft, _, value| {
        draft.key_store.password = Some(value.to_owned());
        Ok(())
    }),
    key(
        "ssl.keyStore.passwordPath",
        "tls.key_store_password_file",
        "",
        "File with the password of the key store, so that it stands in no configuration.",
        |draft, _, value| {
            draft.key_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.keyStore.type", "tls.key_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.key_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.trustStore.location",
        "tls.trust_store",
        "",
        "Certificates of the CAs that client certificates must come from: PEM or PKCS#12. Needed unless \
         `ssl.clientAuth` is none.",
        |draft, _, value| {
            draft.trust_store.path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "ssl.trustStore.password",
        "tls.trust_store_password",
        "",
        "Password of the trust store.",
        |draft, _, value| {
            draft.trust_store.password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "ssl.trustStore.passwordPath",
        "tls.trust_store_password_file",
        "",
        "File with the password of the trust store.",
        |draft, _, value| {
            draft.trust_store.password_path = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key("ssl.trustStore.type", "tls.trust_store_type", "by extension", "PEM or PKCS12.", |draft, _, value| {
        draft.trust_store.format = Some(store_format(value)?);
        Ok(())
    }),
    key(
        "ssl.clientAuth",
        "tls.client_auth",
        "need",
        "`need`: no connection without a certificate of a trusted CA. `want`: one that is shown must be good. `none`.",
        |draft, _, value| {
            draft.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2; `ssl.enabledProtocols` goes before it.",
        |draft, _, value| {
            draft.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.enabledProtocols",
        "tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2 or both with a comma. Older ones do not exist here.",
        |draft, _, value| {
            draft.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.ciphersuites",
        "tls.cipher_suites",
        "all that are known",
        "Cipher suites by IANA name, divided by commas. Those with CBC or without forward secrecy do not exist here: they \
         are named in the warning, and refused if nothing is left.",
        |draft, name, value| {
            let (known, unknown) = cipher_suites(name, value)?;
            draft.cipher_suites = known;
            draft.unused.extend(unknown);
            Ok(())
        },
    ),
    key(
        "client.certReload",
        "tls.reload",
        "false",
        "Every 10 seconds look whether key or trust store have changed, and use the new ones for new connections. A \
         broken new file is logged and the old one stays.",
        |draft, _, value| boolean(value, &mut draft.reload),
    ),
    key(
        "ssl.handshakeDetectionTimeoutMillis",
        "tls.handshake_timeout_ms",
        "5000",
        "Milliseconds, 10 to 600000, in which a client must be through with its TLS handshake.",
        |draft, _, value| {
            let mut timeout_ms = 0;
            number(value, 10..=600_000, &mut timeout_ms)?;
            draft.handshake_timeout_ms = Some(timeout_ms);
            Ok(())
        },
    ),
    key(
        "netty.server.outstandingHandshake.limit",
        "tls.handshakes_max",
        "250",
        "TLS handshakes under way at once; more are closed. 0 or -1: any number.",
        |draft, _, value| {
            let mut handshakes: i64 = 0;
            number(value, -1..=1_000_000, &mut handshakes)?;
            draft.handshakes_max = Some(usize::try_from(handshakes).unwrap_or(0));
            Ok(())
        },
    ),
    key(
        "client.portUnification",
        "tls.on_client_port",
        "false",
        "`clientPort` takes TLS as well as plain connections, told apart by their first byte.",
        |draft, _, value| boolean(value, &mut draft.unify_ports),
    ),
    silent("ssl.authProvider", "The scheme x509 is the one that client certificates prove."),
    silent("ssl.sslProvider", "There is one TLS implementation here."),
    silent("ssl.context.supplier.class", "Java class."),
    silent("fips-mode", "The Java security providers' mode."),
    nothing("ssl.hostnameVerification", "Client names are not checked against their addresses."),
    nothing("ssl.clientHostnameVerification", "Client names are not checked against their addresses."),
    nothing("ssl.allowReverseDnsLookup", "Client names are not checked against their addresses."),
    nothing("ssl.crl", "Revocation lists are not fetched; take the CA out of the trust store instead."),
    nothing("ssl.ocsp", "Revocation is not asked for; take the CA out of the trust store instead."),
];
