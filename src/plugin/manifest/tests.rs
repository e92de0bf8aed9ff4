//! Manifests as they come from outside: which are accepted, and what a refusal says.

use super::*;
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "format": 1, "version": 1, "paths": ["/services/**"],
        "component": { "sha256": "0".repeat(64), "bytes": 10, "chunks": 1 },
    })
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut manifest = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[key] = value;
    manifest.to_string().into_bytes()
}

#[test]
fn missing_keys_have_their_defaults() {
    let manifest = parse(good().to_string().as_bytes()).unwrap();
    assert_eq!((manifest.mode, manifest.on_failure), (Mode::Enforce, OnFailure::Reject));
    assert_eq!((manifest.kind, manifest.operations()), (Kind::Validator, 0b011_1100));
    assert_eq!(manifest.settings, json!({}));
    let again = parse(&serde_json::to_vec(&manifest).unwrap()).unwrap();
    assert_eq!(again, manifest);
}

#[test]
fn an_error_names_the_key() {
    for (pointer, value, words) in [
        ("/format", json!(2), "format: 2"),
        ("/pathz", json!([]), "pathz"),
        ("/paths", json!([]), "paths: at least one"),
        ("/paths", json!(["services"]), "start with /"),
        ("/paths", json!(["/zookeeper/x"]), "/zookeeper"),
        ("/on", json!(["read"]), "on: a validator is not asked about `read`"),
        ("/kind", json!("recipe"), "paths: a recipe has none"),
        ("/mount", json!("/locks"), "mount: a validator has none"),
        ("/scheme", json!("jwt"), "scheme: a validator has none"),
        ("/require", json!("allow"), "require: only a policy"),
        ("/mode", json!("on"), "on"),
        ("/settings", json!(3), "settings"),
        ("/grants", json!([{ "path": "/a", "verbs": [] }]), "a verb is required"),
        ("/grants", json!([{ "path": "/zookeeper", "verbs": ["read"] }]), "no grant reaches /zookeeper"),
        ("/limits", json!({ "fuel": 0 }), "limits.fuel: 0"),
        ("/limits", json!({ "memory_bytes": 1u64 << 40 }), "limits.memory_bytes"),
        ("/limits", json!({ "deadline_ms": 5000 }), "limits.deadline_ms"),
        ("/canary", json!(["/other"]), "it is not within /services"),
        ("/canary", json!(["/services/*"]), "no pattern"),
        ("/component/sha256", json!("00"), "component.sha256"),
        ("/component/bytes", json!(1u64 << 40), "at most 25165824"),
        ("/component/chunks", json!(5), "component.chunks"),
    ] {
        let error = parse(&with(pointer, value)).unwrap_err();
        assert!(error.contains(words), "{pointer}: {error}");
    }
}

#[test]
fn each_kind_says_where_it_applies() {
    let with = |more: Value| {
        let mut manifest = good();
        manifest.as_object_mut().unwrap().remove("paths");
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        parse(manifest.to_string().as_bytes())
    };
    let lock = with(json!({ "kind": "recipe", "mount": "/locks" })).unwrap();
    assert_eq!(lock.place(&[]), "/locks");
    let jwt = with(json!({ "kind": "authenticator", "scheme": "jwt" })).unwrap();
    assert_eq!(jwt.place(&[]), "jwt");
    for (more, words) in [
        (json!({ "kind": "recipe" }), "mount: a recipe needs one"),
        (json!({ "kind": "recipe", "mount": "/zookeeper/x" }), "nothing in /zookeeper"),
        (json!({ "kind": "recipe", "mount": "/" }), "not the root"),
        (json!({ "kind": "recipe", "mount": "/locks/*" }), "no pattern"),
        (json!({ "kind": "recipe", "mount": "/locks", "mode": "audit" }), "mode: a recipe"),
        (json!({ "kind": "recipe", "mount": "/locks", "on_failure": "ignore" }), "on_failure: what a recipe"),
        (json!({ "kind": "recipe", "mount": "/locks", "on": ["create"] }), "on: a recipe"),
        (json!({ "kind": "recipe", "mount": "/locks", "canary": ["/locks/a"] }), "a mount has one recipe"),
        (json!({ "kind": "authenticator", "scheme": "jwt", "canary": ["/a"] }), "a scheme has one authenticator"),
        (json!({ "kind": "authenticator" }), "scheme: an authenticator needs one"),
        (json!({ "kind": "authenticator", "scheme": "digest" }), "the server's own"),
        (json!({ "kind": "authenticator", "scheme": "J" }), "small letter"),
        (json!({ "kind": "policy" }), "paths: at least one"),
    ] {
        let error = with(more).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn no_bytes_panic() {
    for bytes in [&b""[..], b"{", b"\xff\xff", b"[]", b"null", &[b'['; 100_000]] {
        assert!(parse(bytes).is_err());
        assert!(parse_section(bytes).is_err() || bytes == b"[]");
    }
}

#[test]
fn the_mount_is_what_the_paths_share() {
    let mount_of = |paths: &[&str]| mount(&paths.iter().map(|path| Pattern::parse(path).unwrap()).collect::<Vec<_>>());
    assert_eq!(mount_of(&["/services/**"]), "/services");
    assert_eq!(mount_of(&["/a/b/*", "/a/c/**"]), "/a");
    assert_eq!(mount_of(&["/a/**", "/b/**"]), "/");
}

#[test]
fn names() {
    for good in ["names", "a", "my-plugin_2.x"] {
        assert_eq!(check_name(good), Ok(()));
    }
    for bad in ["", "A", "1a", "a/b", "a b", "ä"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}
