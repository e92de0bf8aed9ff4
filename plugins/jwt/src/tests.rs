//! Tokens that are accepted and tokens that are refused. Some are from the RFCs, and the others are signed here.

use super::Jwt;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use wasmkeeper_plugin::testing::Tree;
use wasmkeeper_plugin::{Authenticator, Login, Rejection};

const NOW_S: u64 = 1_800_000_000;
const SECRET: [u8; 32] = [7; 32];

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn settings(more: Value) -> String {
    let mut settings = json!({ "keys": [
        { "kid": "h", "alg": "HS256", "secret": encode(SECRET) },
        { "kid": "e", "alg": "EdDSA", "public": encode(signing_key().verifying_key().as_bytes()) },
    ] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings.to_string()
}

fn signed(header: Value, claims: Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = match header["alg"].as_str() {
        Some("EdDSA") => signing_key().sign(message.as_bytes()).to_bytes().to_vec(),
        _ => Hmac::<Sha256>::new_from_slice(&SECRET).unwrap().chain_update(&message).finalize().into_bytes().to_vec(),
    };
    format!("{message}.{}", encode(signature))
}

fn hs256(claims: Value) -> String {
    signed(json!({ "alg": "HS256", "kid": "h" }), claims)
}

fn ask(settings: &str, token: &str) -> Result<Login, Rejection> {
    let tree = Tree::new();
    tree.circumstances(|context| context.wall_ms = NOW_S * 1000);
    Jwt::configure("jwt", settings).unwrap().authenticate(&tree.view(), token.as_bytes())
}

fn why_not(settings: &str, token: &str) -> String {
    ask(settings, token).unwrap_err().text.strip_prefix("the token is refused: ").unwrap().into()
}

#[test]
fn good_tokens() {
    let claims = json!({ "sub": "alice", "exp": NOW_S + 60, "nbf": NOW_S, "groups": ["ops", "dev"] });
    for header in [json!({ "alg": "HS256", "kid": "h" }), json!({ "alg": "EdDSA", "kid": "e", "typ": "JWT" })] {
        let login = ask(&settings(json!({})), &signed(header, claims.clone())).unwrap();
        assert_eq!(login.ids, ["alice", "group:ops", "group:dev"]);
        assert_eq!(login.valid_until_ms, Some((NOW_S + 60) * 1000 + 30_000));
    }
    let strict =
        settings(json!({ "issuer": "https://id", "audience": "keeper", "groups-claim": "roles", "leeway-ms": 0 }));
    let claims = json!({ "sub": "a", "exp": NOW_S as f64 + 0.5, "iss": "https://id", "aud": ["x", "keeper"], "roles": ["r"], "groups": 7 });
    let login = ask(&strict, &hs256(claims)).unwrap();
    assert_eq!((login.ids, login.valid_until_ms), (vec!["a".into(), "group:r".into()], Some(NOW_S * 1000 + 500)));
}

#[test]
fn the_tokens_of_the_rfcs() {
    // RFC 8037, appendix A.4. Its signature is right, but its payload is not JSON. So the refusal speaks of the payload
    // and not of the signature.
    let ed25519 =
        json!({ "keys": [{ "kid": "k", "alg": "EdDSA", "public": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                 hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(why_not(&ed25519.to_string(), token), "the claims are no JSON object");
    assert_eq!(why_not(&ed25519.to_string(), &token.replace("hgyY", "hgyZ")), "the signature is wrong");
    // RFC 7515, appendix A.1. The token expired in 2011.
    let hs256 = json!({ "keys": [{ "kid": "k", "alg": "HS256",
        "secret": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }] });
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(why_not(&hs256.to_string(), token), "it has expired");
}

#[test]
fn the_key_says_which_algorithm_it_is_for() {
    let claims = json!({ "sub": "alice", "exp": NOW_S + 60 });
    let settings = settings(json!({}));
    // A token that is signed with the public EdDSA key as an HS256 secret, and one without any algorithm.
    let message =
        format!("{}.{}", encode(json!({ "alg": "HS256", "kid": "e" }).to_string()), encode(claims.to_string()));
    let public = signing_key().verifying_key();
    let mac = Hmac::<Sha256>::new_from_slice(public.as_bytes()).unwrap().chain_update(&message).finalize();
    let confused = format!("{message}.{}", encode(mac.into_bytes()));
    assert_eq!(why_not(&settings, &confused), "there is no such key for kid and alg");
    for header in [
        json!({ "alg": "none", "kid": "h" }),
        json!({ "alg": "hs256", "kid": "h" }),
        json!({ "kid": "h" }),
        json!({ "alg": "EdDSA", "kid": "h" }),
        json!({ "alg": "HS256", "kid": "x" }),
        json!({ "alg": "HS256", "kid": 7 }),
        // There are two keys, and the token names none.
        json!({ "alg": "HS256" }),
    ] {
        assert_eq!(why_not(&settings, &signed(header, claims.clone())), "there is no such key for kid and alg");
    }
    let crit = json!({ "alg": "HS256", "kid": "h", "crit": ["b64"], "b64": false });
    assert_eq!(why_not(&settings, &signed(crit, claims.clone())), "crit is not supported");
}

#[test]
fn bad_tokens() {
    let open = settings(json!({}));
    let good = json!({ "sub": "alice", "exp": NOW_S + 60 });
    for (change, text) in [
        (json!({ "exp": NOW_S - 30 }), "it has expired"),
        (json!({ "exp": null }), "it has no exp: a token must end"),
        (json!({ "exp": "soon" }), "exp or nbf is no time"),
        (json!({ "exp": -1 }), "exp or nbf is no time"),
        (json!({ "exp": 1e300 }), "exp or nbf is no time"),
        (json!({ "nbf": NOW_S + 31 }), "it is not valid yet"),
        (json!({ "nbf": {} }), "exp or nbf is no time"),
        (json!({ "aud": "other" }), "aud names somebody else"),
        (json!({ "sub": "" }), "sub is not the name of a subject"),
        (json!({ "sub": 7 }), "sub is not the name of a subject"),
        (json!({ "sub": "group:ops" }), "sub is not the name of a subject"),
        (json!({ "sub": "a\nb" }), "sub is not the name of a subject"),
        (json!({ "groups": "ops" }), "the groups are no list of at most 63 names"),
        (json!({ "groups": vec!["g"; 64] }), "the groups are no list of at most 63 names"),
        (json!({ "groups": ["ops", ""] }), "a group is not a name"),
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(why_not(&open, &hs256(claims)), text);
    }
    let strict = settings(json!({ "issuer": "https://id", "audience": "keeper" }));
    let with = |iss: Value, aud: Value| {
        why_not(&strict, &hs256(json!({ "sub": "a", "exp": NOW_S + 60, "iss": iss, "aud": aud })))
    };
    assert_eq!(with(json!("https://other"), json!("keeper")), "iss is not the issuer that is expected");
    assert_eq!(with(json!(null), json!("keeper")), "iss is not the issuer that is expected");
    assert_eq!(with(json!("https://id"), json!(null)), "aud names somebody else");
    assert_eq!(with(json!("https://id"), json!(["other"])), "aud names somebody else");
    let token = hs256(good.clone());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{}.{signature}", message.replace("eyJhbG", "eyJhbH"));
    assert_eq!(why_not(&open, &"x".repeat(2049)), "it is longer than token-bytes-max");
    for broken in ["", ".", "..", "a.b", &forged, message, &format!("{token}."), &format!("{token}=")] {
        assert!(ask(&open, broken).is_err(), "{broken}");
    }
    // Each bit of the signature counts.
    for at in 0..signature.len() - 1 {
        let other = if signature.as_bytes()[at] == b'A' { "B" } else { "A" };
        let changed = format!("{message}.{}{other}{}", &signature[..at], &signature[at + 1..]);
        assert_eq!(why_not(&open, &changed), "the signature is wrong");
    }
}

#[test]
fn settings_and_ids_are_checked() {
    let key = |key: Value| json!({ "keys": [key] });
    for (settings, text) in [
        (json!({}), "keys: a list"),
        (json!({ "keys": [] }), "keys: a list"),
        (json!({ "keys": [7] }), "keys[0]: an object"),
        (key(json!({ "alg": "HS256" })), "keys[0].kid: a name"),
        (key(json!({ "kid": "a" })), "keys[0].alg: HS256 or EdDSA"),
        (key(json!({ "kid": "a", "alg": "none" })), "keys[0].alg: HS256 or EdDSA"),
        (key(json!({ "kid": "a", "alg": "HS256", "secret": "short" })), "keys[0].secret: at least 32 bytes"),
        (key(json!({ "kid": "a", "alg": "EdDSA", "public": encode([0; 31]) })), "keys[0].public: an Ed25519 key"),
        // The neutral element of the curve: for this key, anybody can make a valid signature.
        (
            key(
                json!({ "kid": "a", "alg": "EdDSA", "public": encode([1u8].iter().chain(&[0; 31]).copied().collect::<Vec<_>>()) }),
            ),
            "keys[0].public:",
        ),
        (
            key(json!({ "kid": "a", "alg": "HS256", "secret": encode(SECRET), "public": "x" })),
            "keys[0].public: there is no such setting",
        ),
    ] {
        let error = Jwt::configure("jwt", &settings.to_string()).err().unwrap();
        assert!(error.starts_with(text), "{error}");
    }
    let twice = json!({ "kid": "a", "alg": "HS256", "secret": encode(SECRET) });
    assert_eq!(
        Jwt::configure("jwt", &json!({ "keys": [twice, twice] }).to_string()).err().unwrap(),
        "keys[1].kid: a is there twice"
    );
    let jwt = Jwt::configure("jwt", &settings(json!({}))).unwrap();
    assert!(jwt.check_id("alice").is_ok() && jwt.check_id("group:ops").is_ok());
    assert!(jwt.check_id("").is_err() && jwt.check_id("group:").is_err() && jwt.check_id("a\u{7}").is_err());
    assert!(!jwt.matches("alice", "bob"));
}
