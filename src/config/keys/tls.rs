//! Settings of the section `TLS for clients`.

use super::values::{boolean, cipher_suites, client_auth, number, store_format, tls_versions};
use super::{Key, key, nothing, silent};
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "ssl.keyStore.location",
        "tls.key_store",
        "",
        "The server's key and certificate chain: a PEM file with both (`.pem`), or a PKCS#12 file (`.p12`, `.pfx`). \
         JKS and BCFKS files are refused; `keytool -importkeystore -srckeystore A.jks -destkeystore A.p12 \
         -deststoretype PKCS12` converts them.",
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
        "File with the password of the key store. The password then is in no configuration file.",
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
        "Certificates of the CAs that sign client certificates: PEM or PKCS#12. Needed unless `ssl.clientAuth` is \
         `none`.",
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
        "`need`: a client must show a certificate that a trusted CA has signed. `want`: a client may show one, and it \
         must be valid. `none`: clients are not asked for one.",
        |draft, _, value| {
            draft.client_auth = Some(client_auth(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.protocol",
        "",
        "TLSv1.3",
        "TLSv1.3 or TLSv1.2. If `ssl.enabledProtocols` is set, that counts instead.",
        |draft, _, value| {
            draft.protocol = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.enabledProtocols",
        "tls.protocols",
        "TLSv1.3,TLSv1.2",
        "TLSv1.3, TLSv1.2, or both with a comma. Older versions do not exist here.",
        |draft, _, value| {
            draft.enabled_protocols = Some(tls_versions(value)?);
            Ok(())
        },
    ),
    key(
        "ssl.ciphersuites",
        "tls.cipher_suites",
        "all that are known",
        "Cipher suites by their IANA names, separated by commas. Suites with CBC or without forward secrecy do not \
         exist here: the warning names them, and a list without any other suite is refused.",
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
        "Whether the server looks every 10 seconds whether the key store or the trust store has changed. New \
         connections then use the new files. If a new file is broken, the server logs that and goes on with the old \
         one.",
        |draft, _, value| boolean(value, &mut draft.reload),
    ),
    key(
        "ssl.handshakeDetectionTimeoutMillis",
        "tls.handshake_timeout_ms",
        "5000",
        "Milliseconds, 10 to 600000. A client must finish its TLS handshake in this time.",
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
        "TLS handshakes under way at the same time. A client beyond this number is disconnected. 0 or -1: any number.",
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
        "Whether `clientPort` accepts both TLS and plain connections. The first byte of a connection tells which one \
         it is.",
        |draft, _, value| boolean(value, &mut draft.unify_ports),
    ),
    silent("ssl.authProvider", "Client certificates always prove the scheme x509."),
    silent("ssl.sslProvider", "There is only one TLS implementation here."),
    silent("ssl.context.supplier.class", "Names a Java class."),
    silent("fips-mode", "Concerns Java's security providers."),
    nothing("ssl.hostnameVerification", "The name in a client certificate is not compared with the client's address."),
    nothing(
        "ssl.clientHostnameVerification",
        "The name in a client certificate is not compared with the client's address.",
    ),
    nothing("ssl.allowReverseDnsLookup", "The name in a client certificate is not compared with the client's address."),
    nothing("ssl.crl", "Certificate revocation lists are not fetched. To revoke, remove the CA from the trust store."),
    nothing("ssl.ocsp", "OCSP is not used. To revoke, remove the CA from the trust store."),
];
