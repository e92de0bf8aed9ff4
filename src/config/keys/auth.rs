//! Settings of the section `Who may do what`: superusers, digest, SASL, and what clients must prove.

use super::values::boolean;
use super::{Key, key};
use crate::config::DigestAlgorithm;
use std::path::PathBuf;

pub(super) const KEYS: &[Key] = &[
    key(
        "DigestAuthenticationProvider.superDigest",
        "auth.super_digest",
        "",
        "The digest identity of the superuser: `super:` and the hash of `super:PASSWORD` in base64 (`printf %s \
         super:PASSWORD | openssl dgst -sha1 -binary | base64`). A server that other machines can reach accepts no \
         plugins unless it has a superuser.",
        |draft, _, value| {
            if value.matches(':').count() != 1 || value.ends_with(':') || value.starts_with(':') {
                return Err("must have the form super:BASE64 (base64 of the hash of super:PASSWORD)".into());
            }
            draft.config.auth.super_digest = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "DigestAuthenticationProvider.enabled",
        "auth.digest_enabled",
        "true",
        "Whether clients can authenticate with the scheme digest.",
        |draft, _, value| boolean(value, &mut draft.config.auth.digest_enabled),
    ),
    key(
        "DigestAuthenticationProvider.digestAlg",
        "auth.digest_algorithm",
        "SHA1",
        "Hash of digest identities: SHA1, SHA-224, SHA-256, SHA-384, SHA-512, SHA3-224 to SHA3-512, MD5. ACLs contain \
         the hashes, so after a change nobody matches the existing ACLs.",
        |draft, _, value| {
            let found = DigestAlgorithm::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            let (_, algorithm) = found.ok_or("must be one of SHA1, SHA-256, SHA-512, SHA3-256, SHA3-512, ...")?;
            draft.config.auth.digest_algorithm = *algorithm;
            Ok(())
        },
    ),
    key(
        "java.security.auth.login.config",
        "auth.jaas_file",
        "",
        "JAAS file. Its section `Server` has the users of SASL DIGEST-MD5 (`user_NAME=\"password\"`). Without that \
         section SASL is off.",
        |draft, _, value| {
            draft.login_config = Some(PathBuf::from(value));
            Ok(())
        },
    ),
    key(
        "sasl.serverconfig",
        "auth.jaas_section",
        "Server",
        "Name of the section of the JAAS file.",
        |draft, _, value| {
            draft.login_section = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "authProvider.*",
        "",
        "",
        "Authentication providers. SASLAuthenticationProvider allows the scheme sasl in ACLs. The schemes digest, ip \
         and x509 exist anyway. Other Java classes cannot be loaded, and the warning names them.",
        |draft, name, value| {
            match value.rsplit('.').next().unwrap_or_default() {
                "SASLAuthenticationProvider" => draft.sasl_provider = true,
                "DigestAuthenticationProvider" | "IPAuthenticationProvider" | "X509AuthenticationProvider" => (),
                _ => draft.unused.push(format!("{name}={value}")),
            }
            Ok(())
        },
    ),
    key("superUser", "auth.sasl_super_user", "", "A SASL user who is superuser.", |draft, _, value| {
        draft.config.auth.sasl_super_users.insert(value.to_owned());
        Ok(())
    }),
    key(
        "superUser.*",
        "",
        "",
        "More SASL users who are superusers: superUser.1, superUser.2, ...",
        |draft, _, value| {
            draft.config.auth.sasl_super_users.insert(value.to_owned());
            Ok(())
        },
    ),
    key(
        "SASLAuthenticationProvider.superPassword",
        "auth.sasl_super_password",
        "",
        "Password of the SASL user `super`. It replaces the one in the JAAS file.",
        |draft, _, value| {
            draft.sasl_super_password = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "X509AuthenticationProvider.superUser",
        "auth.x509_super_user",
        "",
        "Subject of the client certificate that is superuser, in RFC 2253's form, as in ACLs of the scheme x509.",
        |draft, _, value| {
            draft.config.auth.x509_super_user = Some(value.to_owned());
            Ok(())
        },
    ),
    key(
        "enforce.auth.enabled",
        "auth.enforce",
        "false",
        "Whether a client must have proven an identity of one of the `enforce.auth.schemes` before it may send \
         requests.",
        |draft, _, value| boolean(value, &mut draft.enforce_auth),
    ),
    key(
        "enforce.auth.schemes",
        "auth.enforce_schemes",
        "",
        "Schemes separated by commas: digest, sasl, x509, ip.",
        |draft, _, value| {
            draft.config.auth.enforce_schemes =
                value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
            Ok(())
        },
    ),
    key(
        "sessionRequireClientSASLAuth",
        "auth.require_sasl",
        "false",
        "Whether requests before a finished SASL exchange are refused with SESSIONCLOSEDREQUIRESASLAUTH.",
        |draft, _, value| boolean(value, &mut draft.config.auth.require_sasl),
    ),
    key(
        "allowSaslFailedClients",
        "auth.allow_sasl_failed",
        "false",
        "Whether a connection stays open after a failed SASL exchange. It then has no SASL identity.",
        |draft, _, value| boolean(value, &mut draft.config.auth.allow_sasl_failed),
    ),
];
