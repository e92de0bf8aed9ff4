//! `jwt`: an authenticator. Clients prove who they are with a signed token (RFC 7519): `addauth jwt <token>`. Settings:
//!
//! | key | meaning |
//! |---|---|
//! | `keys` | keys whose signatures count: `{"kid":"a","alg":"HS256","secret":"..."}`, `{"kid":"b","alg":"EdDSA","public":"..."}`; required |
//! | `issuer` | the required value of `iss`; without this setting `iss` is not checked |
//! | `audience` | a value that `aud` must be or contain; without this setting a token with `aud` is refused |
//! | `groups-claim` | the claim that lists groups; default `groups` |
//! | `token-bytes-max` | the largest size of a token; default 2048 |
//! | `leeway-ms` | how far the issuer's clock may be off; default 30000 |
//!
//! The token's `kid` says which key signed it, and the key says which algorithm counts. The token's own `alg` must name
//! the same algorithm; it never chooses one.

mod ed25519;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519::PublicKey;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use wasmkeeper_plugin::{Authenticator, Login, Rejection, Settings, View, authenticator, code, refuse};

/// An EdDSA token of this length takes 1.7 million fuel, most of it for the signature. Longer tokens need more than the
/// default fuel.
const TOKEN_BYTES_DEFAULT: u64 = 2048;
const TOKEN_BYTES_MAX: u64 = 16 << 10;
const ID_BYTES_MAX: usize = 256;
/// The server accepts 64 ids, and one of them is the subject.
const GROUPS_MAX: usize = 63;
/// The ids of groups begin with this. Subjects must not.
const GROUP: &str = "group:";

struct Jwt {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
    groups_claim: String,
    token_bytes_max: u64,
    leeway_ms: u64,
}

struct Key {
    kid: String,
    secret: Secret,
}

enum Secret {
    Hs256(Vec<u8>),
    EdDsa(PublicKey),
}

authenticator!(Jwt, r#"{ "name": "jwt", "version": "1.0.0", "pure": true, "grants": [] }"#);

impl Authenticator for Jwt {
    fn configure(_scheme: &str, settings: &str) -> Result<Jwt, String> {
        let mut settings = Settings::parse(settings)?;
        let wrong = "keys: a list is required, such as [{\"kid\":\"a\",\"alg\":\"EdDSA\",\"public\":\"...\"}]";
        let Some(Value::Array(listed)) = settings.value("keys").filter(|keys| keys != &Value::Array(Vec::new())) else {
            return Err(wrong.into());
        };
        let mut keys: Vec<Key> = Vec::new();
        for (at, key) in listed.into_iter().enumerate() {
            let key = Key::read(Settings::within(&format!("keys[{at}]"), key)?)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(format!("keys[{at}].kid: {} is there twice", key.kid));
            }
            keys.push(key);
        }
        let (issuer, audience) = (settings.text("issuer")?, settings.text("audience")?);
        let groups_claim = settings.text("groups-claim")?.unwrap_or_else(|| "groups".into());
        let token_bytes_max = settings.number("token-bytes-max", 1..=TOKEN_BYTES_MAX)?.unwrap_or(TOKEN_BYTES_DEFAULT);
        let leeway_ms = settings.number("leeway-ms", 0..=300_000)?.unwrap_or(30_000);
        settings.finish()?;
        Ok(Jwt { keys, issuer, audience, groups_claim, token_bytes_max, leeway_ms })
    }

    fn authenticate(&self, view: &View, credential: &[u8]) -> Result<Login, Rejection> {
        let claims = self.verified(credential)?;
        let now_ms = view.context().wall_ms;
        let valid_until_ms = match time_ms(&claims["exp"])? {
            Some(exp_ms) => exp_ms.saturating_add(self.leeway_ms),
            None => return refused("it has no exp: a token must end"),
        };
        if now_ms >= valid_until_ms {
            return refused("it has expired");
        }
        if time_ms(&claims["nbf"])?.is_some_and(|nbf_ms| now_ms.saturating_add(self.leeway_ms) < nbf_ms) {
            return refused("it is not valid yet");
        }
        if self.issuer.as_deref().is_some_and(|issuer| claims["iss"] != issuer) {
            return refused("iss is not the issuer that is expected");
        }
        if !self.is_for_us(&claims["aud"]) {
            return refused("aud names somebody else");
        }
        Ok(Login { ids: self.ids(&claims)?, valid_until_ms: Some(valid_until_ms) })
    }

    fn check_id(&self, id: &str) -> Result<(), String> {
        let name = id.strip_prefix(GROUP).unwrap_or(id);
        if is_name(name) {
            Ok(())
        } else {
            Err(format!("a subject or group:NAME of at most {ID_BYTES_MAX} bytes is required"))
        }
    }
}

impl Key {
    fn read(mut settings: Settings) -> Result<Key, String> {
        let kid = settings.text("kid")?.ok_or_else(|| settings.wrong("kid", "a name for the key is required"))?;
        let secret = match settings.text("alg")?.as_deref() {
            Some("HS256") => {
                let secret = settings.text("secret")?.and_then(|text| decode(text.trim_end_matches('=')));
                let secret = secret.filter(|secret| secret.len() >= 32);
                Secret::Hs256(
                    secret.ok_or_else(|| settings.wrong("secret", "at least 32 bytes in base64url are required"))?,
                )
            }
            Some("EdDSA") => {
                let public = settings.text("public")?.and_then(|text| decode(text.trim_end_matches('=')));
                let public = public.and_then(|public| PublicKey::read(public.try_into().ok()?));
                Secret::EdDsa(
                    public.ok_or_else(|| {
                        settings.wrong("public", "an Ed25519 key, 32 bytes in base64url, is required")
                    })?,
                )
            }
            _ => return Err(settings.wrong("alg", "HS256 or EdDSA is required")),
        };
        settings.finish()?;
        Ok(Key { kid, secret })
    }

    fn algorithm(&self) -> &'static str {
        match self.secret {
            Secret::Hs256(_) => "HS256",
            Secret::EdDsa(_) => "EdDSA",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.secret {
            Secret::Hs256(secret) => Hmac::<Sha256>::new_from_slice(secret)
                .is_ok_and(|mac| mac.chain_update(message).verify_slice(signature).is_ok()),
            Secret::EdDsa(public) => public.has_signed(message, signature),
        }
    }
}

impl Jwt {
    /// The claims of a token whose signature is right.
    fn verified(&self, credential: &[u8]) -> Result<Value, Rejection> {
        if credential.len() as u64 > self.token_bytes_max {
            return refused("it is longer than token-bytes-max");
        }
        let token = std::str::from_utf8(credential).ok().map(str::trim);
        let parts = token.and_then(|token| {
            let (message, signature) = token.rsplit_once('.')?;
            let (header, claims) = message.split_once('.')?;
            Some((message, json(header)?, claims, decode(signature)?))
        });
        let Some((message, header, claims, signature)) = parts else {
            return refused("three parts in base64url with dots between them are required");
        };
        // `crit` names extensions that the reader must understand. This plugin understands none.
        if !header["crit"].is_null() {
            return refused("crit is not supported");
        }
        let key = match &header["kid"] {
            Value::Null if self.keys.len() == 1 => self.keys.first(),
            kid => self.keys.iter().find(|key| *kid == key.kid),
        };
        let Some(key) = key.filter(|key| header["alg"] == key.algorithm()) else {
            return refused("there is no such key for kid and alg");
        };
        if !key.has_signed(message.as_bytes(), &signature) {
            return refused("the signature is wrong");
        }
        match json(claims) {
            Some(claims @ Value::Object(_)) => Ok(claims),
            _ => refused("the claims are no JSON object"),
        }
    }

    fn is_for_us(&self, aud: &Value) -> bool {
        match (&self.audience, aud) {
            (None, aud) => aud.is_null(),
            (Some(audience), Value::Array(several)) => several.iter().any(|one| one == audience),
            (Some(audience), one) => one == audience,
        }
    }

    fn ids(&self, claims: &Value) -> Result<Vec<String>, Rejection> {
        let Some(sub) = claims["sub"].as_str().filter(|sub| is_name(sub) && !sub.starts_with(GROUP)) else {
            return refused("sub is not the name of a subject");
        };
        let mut ids = vec![sub.to_string()];
        match &claims[self.groups_claim.as_str()] {
            Value::Null => {}
            Value::Array(groups) if groups.len() <= GROUPS_MAX => {
                for group in groups {
                    match group.as_str().filter(|group| is_name(group)) {
                        Some(group) => ids.push(format!("{GROUP}{group}")),
                        None => return refused("a group is not a name"),
                    }
                }
            }
            _ => return refused("the groups are no list of at most 63 names"),
        }
        Ok(ids)
    }
}

/// A refusal. The client learns AUTHFAILED. The text goes to the log, so it contains nothing of the token.
fn refused<T>(text: &str) -> Result<T, Rejection> {
    refuse(code::NO_AUTH, format!("the token is refused: {text}"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains(char::is_control)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&decode(part)?).ok()
}

/// Turns seconds since 1970, perhaps with a fraction, into milliseconds.
fn time_ms(claim: &Value) -> Result<Option<u64>, Rejection> {
    match claim.as_f64() {
        None if claim.is_null() => Ok(None),
        Some(seconds) if (0.0..1e12).contains(&seconds) => Ok(Some((seconds * 1000.0) as u64)),
        _ => refused("exp or nbf is no time"),
    }
}

#[cfg(test)]
mod tests;
