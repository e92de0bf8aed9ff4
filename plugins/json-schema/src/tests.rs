//! Documents against schemas, and schemas against the supported keywords.

use super::JsonSchema;
use super::schema::Schema;
use serde_json::{Value, json};
use wasmkeeper_plugin::testing::Tree;
use wasmkeeper_plugin::{Change, ChangeKind, Rejection, Validator};

/// What is wrong with a document. Empty if it matches.
fn wrong(schema: &Value, document: &Value) -> String {
    let schema = Schema::read("schema", schema).unwrap();
    schema.check(document).map_or_else(|misfit| misfit.to_string(), |()| String::new())
}

#[test]
fn what_is_wrong_and_where() {
    let service = json!({
        "title": "a service", "type": "object", "required": ["owner", "ports"], "additionalProperties": false,
        "properties": {
            "owner": { "type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$" },
            "ports": { "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65535 }, "minItems": 1, "maxItems": 2 },
            "tier": { "enum": ["gold", "silver", 3] },
            "a/b": { "const": null },
            "limits": { "additionalProperties": { "exclusiveMinimum": 0, "exclusiveMaximum": 1.5 }, "maxProperties": 2 },
        },
    });
    let with = |key: &str, value: Value| {
        let mut document = json!({ "owner": "pay", "ports": [80] });
        document[key] = value;
        wrong(&service, &document)
    };
    assert_eq!(with("tier", json!("gold")), "");
    assert_eq!(with("tier", json!(3.0)), "");
    assert_eq!(with("ports", json!([80.0])), "");
    assert_eq!(wrong(&service, &json!({ "owner": "pay" })), "field \"ports\" is missing");
    assert_eq!(wrong(&service, &json!([])), "must be of type object");
    for (key, value, text) in [
        ("owner", json!("p"), "/owner: 1 characters, at least 2 are required"),
        ("owner", json!("äöüäöüäöü"), "/owner: 9 characters, at most 8 are allowed"),
        ("owner", json!("Pay"), "/owner: must match ^[a-z]+$"),
        ("ports", json!([]), "/ports: 0 items, at least 1 are required"),
        ("ports", json!([1, 2, 3]), "/ports: 3 items, at most 2 are allowed"),
        ("ports", json!([1, 0]), "/ports/1: 0 is less than 1"),
        ("ports", json!([65536]), "/ports/0: 65536 is more than 65535"),
        ("ports", json!([1.5]), "/ports/0: must be of type integer"),
        ("tier", json!("lead"), "/tier: must be one of [\"gold\",\"silver\",3]"),
        ("a/b", json!(0), "/a~1b: must be null"),
        ("limits", json!({ "cpu": 0 }), "/limits/cpu: 0 is not more than 0"),
        ("limits", json!({ "cpu": 1.5 }), "/limits/cpu: 1.5 is not less than 1.5"),
        ("limits", json!({ "a": 1, "b": 1, "c": 1 }), "/limits: 3 fields, at most 2 are allowed"),
        ("other", json!(1), "/other: nothing may be here"),
    ] {
        assert_eq!(with(key, value), text);
    }
}

#[test]
fn schemas_of_schemas() {
    let text_or_small = json!({ "anyOf": [{ "type": "string" }, { "maximum": 9 }] });
    assert_eq!(wrong(&text_or_small, &json!("x")), "");
    assert_eq!(wrong(&text_or_small, &json!(10)), "fits none of what anyOf lists");
    let one = json!({ "oneOf": [{ "type": "integer" }, { "minimum": 5 }] });
    assert_eq!((wrong(&one, &json!(4)).as_str(), wrong(&one, &json!(5.5)).as_str()), ("", ""));
    assert_eq!(wrong(&one, &json!(6)), "fits 2 of what oneOf lists, and must fit one");
    let all = json!({ "allOf": [{ "type": ["integer", "null"] }, { "not": { "const": 0 } }] });
    assert_eq!((wrong(&all, &json!(null)).as_str(), wrong(&all, &json!(1)).as_str()), ("", ""));
    assert_eq!(wrong(&all, &json!(0.0)), "fits what it must not");
    assert_eq!((wrong(&json!(true), &json!(1)).as_str(), wrong(&json!({}), &json!(1)).as_str()), ("", ""));
    assert_eq!(wrong(&json!({ "items": false }), &json!([1])), "/0: nothing may be here");
    // Numbers are compared by value and exactly, even where floats would be equal.
    let big = json!({ "const": { "a": [9007199254740993u64, 1] } });
    assert_eq!(wrong(&big, &json!({ "a": [9007199254740993u64, 1.0] })), "");
    assert_ne!(wrong(&big, &json!({ "a": [9007199254740992u64, 1] })), "");
    assert_ne!(wrong(&json!({ "maximum": u64::MAX - 1 }), &json!(u64::MAX)), "");
}

#[test]
fn what_is_not_understood_is_refused() {
    for (schema, text) in [
        (
            json!({ "properties": { "port": { "minimun": 1 } } }),
            "schema/properties/port/minimun: this keyword is not supported",
        ),
        (json!({ "$ref": "#/$defs/a" }), "schema/$ref: this keyword"),
        (json!({ "type": "int" }), "schema/type: int is no type; there are array,"),
        (json!({ "type": 1 }), "schema/type: a text"),
        (json!({ "items": [{}] }), "schema/items: a schema is an object"),
        (json!({ "minLength": -1 }), "schema/minLength: a count"),
        (json!({ "minimum": "1" }), "schema/minimum: a number"),
        (json!({ "required": "a" }), "schema/required: a list"),
        (json!({ "anyOf": [] }), "schema/anyOf: a list"),
        (json!({ "anyOf": [{ "if": true }] }), "schema/anyOf/if: this keyword"),
        (json!({ "pattern": "(" }), "schema/pattern: "),
        (
            json!({ "properties": {}, "additionalProperties": { "x": 1 } }),
            "schema/additionalProperties/x: this keyword",
        ),
        (json!("x"), "schema: a schema is"),
    ] {
        let settings = json!({ "schema": schema }).to_string();
        let error = JsonSchema::configure("/", &settings).err().unwrap();
        assert!(error.starts_with(text), "{error}");
    }
    assert!(JsonSchema::configure("/", "{}").err().unwrap().starts_with("schema: a JSON Schema is required"));
    assert!(JsonSchema::configure("/", r#"{"schema":true,"empty":1}"#).err().unwrap().starts_with("empty: "));
}

#[test]
fn nodes_are_judged_as_they_are_left() {
    let plugin =
        JsonSchema::configure("/s", r#"{"schema":{"required":["owner"],"type":"object"},"allow-empty":true}"#).unwrap();
    let tree = Tree::new();
    tree.put("/s/good", r#"{"owner":1}"#);
    tree.put("/s/bad", "{}");
    tree.put("/s/text", "owner");
    tree.put("/s/empty", "");
    let judge = |kind, path: &str| plugin.validate(&tree.view(), &[Change { kind, path: path.into() }]);
    for path in ["/s/good", "/s/empty", "/s/gone"] {
        assert_eq!(judge(ChangeKind::Created, path), Ok(()));
    }
    assert_eq!(judge(ChangeKind::DataSet, "/s/bad"), Err(Rejection::new("/s/bad: field \"owner\" is missing")));
    assert!(judge(ChangeKind::Created, "/s/text").unwrap_err().text.starts_with("/s/text: the data is not JSON: "));
    assert_eq!(judge(ChangeKind::Deleted, "/s/bad"), Ok(()));
    assert_eq!(judge(ChangeKind::AclSet, "/s/bad"), Ok(()));
}
