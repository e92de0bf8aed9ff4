//! TLS for clients and between members, and who may log in.

use super::finish::Finish;
use super::settings::read;
use super::{ConfigError, Place};
use crate::config::keys::{Draft, DraftPeerTls, DraftStore};
use crate::config::{ClientAuth, Config, PeerTls, Sasl, Secret, Store, StoreFormat, Tls, TlsVersions, jaas};
use crate::limits;

impl Finish<'_> {
    pub(super) fn tls(&self, config: &mut Config, draft: &mut Draft) -> Result<(), ConfigError> {
        if config.network.secure.is_none() && !draft.unify_ports {
            return Ok(());
        }
        let asks = if draft.unify_ports { "client.portUnification" } else { "secureClientPort" };
        let key_store = store(std::mem::take(&mut draft.key_store), "ssl.keyStore")
            .or_else(|what| self.refuse("ssl.keyStore.location", what))?;
        let Some(key_store) = key_store else {
            let what = format!("`{asks}` needs a certificate; set `ssl.keyStore.location` to a PEM or PKCS#12 file");
            return self.refuse(asks, what);
        };
        let trust_store = store(std::mem::take(&mut draft.trust_store), "ssl.trustStore")
            .or_else(|what| self.refuse("ssl.trustStore.location", what))?;
        let client_auth = draft.client_auth.unwrap_or(ClientAuth::Need);
        if trust_store.is_none() && client_auth != ClientAuth::None {
            return self.refuse(
                asks,
                "client certificates are asked for, and `ssl.trustStore.location` does not say whose to trust; set it, \
                 or `ssl.clientAuth=none`",
            );
        }
        let both = TlsVersions { v1_2: true, v1_3: true };
        config.network.tls_on_client_port = draft.unify_ports;
        config.rules.x509_scheme_enabled = true;
        config.tls = Some(Tls {
            key_store,
            trust_store,
            client_auth,
            versions: draft.enabled_protocols.or(draft.protocol).unwrap_or(both),
            cipher_suites: std::mem::take(&mut draft.cipher_suites),
            reload: draft.reload,
            handshake_timeout_ms: draft.handshake_timeout_ms.unwrap_or(limits::ms(limits::TLS_HANDSHAKE_TIMEOUT)),
            handshakes_max: draft.handshakes_max.unwrap_or(limits::TLS_HANDSHAKES_MAX),
        });
        Ok(())
    }

    pub(super) fn peer_tls(&self, draft: DraftPeerTls) -> Result<Option<PeerTls>, ConfigError> {
        if !draft.wanted {
            return Ok(None);
        }
        let store = |draft: DraftStore, name: &str, holds: &str| {
            let location = format!("{name}.location");
            match store(draft, name).or_else(|what| self.refuse(&location, what))? {
                Some(store) => Ok(store),
                None => self.refuse("sslQuorum", format!("`sslQuorum` needs {holds}; set `{location}`")),
            }
        };
        Ok(Some(PeerTls {
            key_store: store(draft.key_store, "ssl.quorum.keyStore", "this member's key and certificate")?,
            trust_store: store(draft.trust_store, "ssl.quorum.trustStore", "the CAs of the members' certificates")?,
            client_auth: draft.client_auth.unwrap_or(ClientAuth::Need),
            verify_names: draft.verify_names.unwrap_or(true),
            allowed_names: draft.allowed_names,
            versions: draft.enabled_protocols.or(draft.protocol).unwrap_or(TlsVersions { v1_2: true, v1_3: true }),
            cipher_suites: draft.cipher_suites,
            reload: draft.reload,
        }))
    }

    pub(super) fn auth(&self, config: &mut Config, draft: &Draft) -> Result<(), ConfigError> {
        config.rules.sasl_scheme_enabled = draft.sasl_provider;
        if let Some(path) = &draft.login_config {
            let section = draft.login_section.as_deref().unwrap_or("Server");
            let users = jaas::users(&read(path)?, section)
                .map_err(|error| ConfigError { place: Place::Line(path.clone(), error.line), what: error.what })?;
            config.auth.sasl = users.map(|mut users| {
                users.extend(draft.sasl_super_password.clone().map(|password| ("super".to_owned(), password)));
                Sasl { users }
            });
        }
        if config.auth.require_sasl && config.auth.sasl.is_none() {
            let what = "`sessionRequireClientSASLAuth` is true and no SASL user exists; set \
                        `java.security.auth.login.config` to a JAAS file with the section Server";
            return self.refuse("sessionRequireClientSASLAuth", what);
        }
        if !draft.enforce_auth {
            config.auth.enforce_schemes.clear();
        } else if config.auth.enforce_schemes.is_empty() {
            let what = "`enforce.auth.enabled` is true and `enforce.auth.schemes` is empty; name the schemes";
            return self.refuse("enforce.auth.enabled", what);
        }
        for scheme in &config.auth.enforce_schemes {
            let exists = match scheme.as_str() {
                "ip" => true,
                "digest" => config.auth.digest_enabled,
                "x509" => config.tls.is_some(),
                "sasl" => config.auth.sasl.is_some(),
                _ => false,
            };
            if !exists {
                let what =
                    format!("`enforce.auth.schemes` names `{scheme}`, which no client could prove here; remove it");
                return self.refuse("enforce.auth.schemes", what);
            }
        }
        Ok(())
    }
}

/// A key store or trust store. `name`: how its settings begin. None: no location is set.
fn store(draft: DraftStore, name: &str) -> Result<Option<Store>, String> {
    let Some(path) = draft.path else { return Ok(None) };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let format = match (draft.format, extension.as_str()) {
        (Some(format), _) => format,
        (None, "pem" | "crt" | "cer") => StoreFormat::Pem,
        (None, "p12" | "pfx" | "pkcs12") => StoreFormat::Pkcs12,
        (None, "jks" | "bcfks") => {
            return Err(format!(
                "`{name}.location` is a Java key store; convert it: keytool -importkeystore -srckeystore {} \
                 -destkeystore {} -deststoretype PKCS12",
                path.display(),
                path.with_extension("p12").display()
            ));
        }
        (None, _) => {
            return Err(format!("`{name}.location` ends in neither .pem nor .p12; set `{name}.type` to PEM or PKCS12"));
        }
    };
    let password = match (draft.password, draft.password_path) {
        (Some(_), Some(_)) => {
            return Err(format!("`{name}.password` and `{name}.passwordPath` are both set; remove one of the two"));
        }
        (Some(password), None) => password,
        (None, Some(file)) => std::fs::read_to_string(&file)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| format!("`{name}.passwordPath`: {} cannot be read: {error}", file.display()))?,
        (None, None) => String::new(),
    };
    Ok(Some(Store { path, format, password: Secret(password) }))
}
