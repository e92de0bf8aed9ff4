//! The commands of plugin authors that need no server, run with the real binary: `plugin new`, `plugin build`, `plugin
//! inspect`, `plugin bench`. The languages' own toolchains are not needed here; tests/languages/run.sh uses them.

use crate::process::{Server, wasmkeeper, words};
use serde_json::Value;
use std::fs;
use std::path::Path;
use zookeeper_client::{Acls, CreateMode, Error};

/// A guest that uses WASI. The component has no manifest.
const HOMESICK: &str = env!("WASMKEEPER_HOMESICK");

/// Runs `wasmkeeper plugin ...` in `folder` with an empty PATH. Returns whether it succeeded, and its output.
fn plugin(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = wasmkeeper(&["plugin"]);
    command.args(arguments).current_dir(folder).env("PATH", folder.join("nowhere"));
    let output = command.output().expect("it runs");
    (output.status.success(), words(&output))
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let (well, words) = plugin(folder, arguments);
    assert!(well, "wasmkeeper plugin {arguments:?}: {words}");
    words
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let (well, words) = plugin(folder, arguments);
    assert!(!well, "wasmkeeper plugin {arguments:?}: {words}");
    words
}

#[test]
fn a_new_project_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (language, file, missing) in [
        ("rust", "src/lib.rs", "https://rustup.rs"),
        ("js", "plugin.js", "componentize-js is not installed: `npm install`"),
        ("python", "plugin.py", "componentize-py is not installed: `python3 -m venv .venv"),
    ] {
        let made = succeeds(here, &["new", "--lang", language, "--kind", "recipe", &format!("my-{language}")]);
        assert!(made.contains("plugin build"), "{made}");
        let project = here.join(format!("my-{language}"));
        assert!(project.join(file).is_file() && project.join("wit/plugin.wit").is_file());
        let said = fails(&project, &["build"]);
        assert!(said.contains(missing), "{said}");
    }
    let said = fails(here, &["build"]);
    assert!(said.contains("`wasmkeeper plugin new` makes a project"), "{said}");
    let said = fails(here, &["new", "--lang", "rust", "my-rust"]);
    assert!(said.contains("is not empty"), "{said}");
}

#[test]
fn a_bundled_plugin_is_inspected_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeeds(folder.path(), &["inspect", "bundled:guard"]);
    assert!(text.contains("kinds    validator") && text.contains("grants   read:$mount"), "{text}");
    let json: Value = serde_json::from_str(&succeeds(folder.path(), &["inspect", "--json", "bundled:guard"])).unwrap();
    assert_eq!((&json["name"], &json["kinds"][0]), (&"guard".into(), &"validator".into()));
    let said = fails(folder.path(), &["inspect", "bundled:gard"]);
    assert!(said.contains("there is no bundled plugin gard"), "{said}");
}

#[test]
fn bench_reports_time_fuel_and_memory_of_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (validator, recipe) = (["--path", "/a/**"], ["--mount", "/a"]);
    for (plugin, bound, request) in [
        ("guard", &validator[..], "client a: create /a/x{n} data"),
        ("time-window", &validator[..], "client a: create /a/x{n}"),
        ("lock", &recipe[..], "client a: create /a/x{n}/lock- ephemeral sequential"),
        ("queue", &recipe[..], "client a: create /a/x/items/job- payload sequential"),
    ] {
        let bundled = format!("bundled:{plugin}");
        let settings = if plugin == "time-window" { r#"{"windows":["daily 00:00-24:00"]}"# } else { "{}" };
        let asked = ["--times", "5", "--settings", settings, "--before", "client a: create /a", "--request", request];
        let said = succeeds(folder.path(), &[&["bench", &bundled, "--name", plugin][..], bound, &asked].concat());
        for kind in ["reused", "fresh"] {
            assert!(said.contains(&format!("{kind}: ns per call")), "{said}");
            assert!(said.contains(&format!("{kind}: fuel per call")), "{said}");
            assert!(said.contains(&format!("{kind}: 5 calls, memory up to ")), "{said}");
        }
        assert!(said.contains("; answers were ok (5)"), "{said}");
    }
    // Fuel does not depend on the machine: a second run prints the same figure.
    let fuel = || {
        let asked = ["--name", "g", "--path", "/a", "--times", "5", "--request", "client a: set /a {n}"];
        let said = succeeds(
            folder.path(),
            &[&["bench", "bundled:guard", "--before", "client a: create /a"][..], &asked].concat(),
        );
        said.lines().find(|line| line.contains("reused: fuel")).unwrap().to_owned()
    };
    assert_eq!(fuel(), fuel());
    let said = fails(
        folder.path(),
        &[
            "bench",
            "bundled:guard",
            "--name",
            "g",
            "--path",
            "/b/**",
            "--request",
            "client a: create /a/b",
            "--times",
            "5",
        ],
    );
    assert!(said.contains("no --request reaches the plugin") && said.contains("NONODE (5)"), "{said}");
}

/// A component that another toolchain built gets its manifest and is deployed. Stand-ins replace its WASI imports.
#[tokio::test]
async fn a_component_that_imports_wasi_from_build_to_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::copy(HOMESICK, here.join("built.wasm")).unwrap();
    let said = succeeds(here, &["build", "built.wasm", "--out", "bare.wasm"]);
    assert!(said.contains("manifest.json is missing") && said.contains("grants   none"), "{said}");

    let manifest = r#"{ "name": "homesick", "pure": true, "grants": [{ "path": "$mount", "verbs": ["read"] }] }"#;
    fs::write(here.join("manifest.json"), manifest).unwrap();
    let said = succeeds(here, &["build", "built.wasm"]);
    assert!(said.contains("wasi:clocks/wall-clock@0.2.77 (a stand-in"), "{said}");
    assert!(said.contains("grants   read:$mount"), "{said}");
    let said = fails(here, &["build", "homesick.wasm"]);
    assert!(said.contains("homesick.wasm would be overwritten"), "{said}");
    fs::write(here.join("manifest.json"), "{").unwrap();
    assert!(fails(here, &["build", "built.wasm"]).contains("manifest.json"));

    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let address = server.address();
    let bound = ["--name", "h", "--path", "/a/**", "--settings", r#"{"do":"surroundings"}"#];
    succeeds(here, &[&["--server", &address, "deploy", "homesick.wasm"][..], &bound].concat());
    let client = server.connect().await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/a", b"", &options).await.unwrap();
    let refused = client.create("/a/b", b"", &options).await.unwrap_err();
    assert!(matches!(refused, Error::BadArguments(_)), "{refused}");
    let (said, _) = client.get_data("/zookeeper/rejection").await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("environment 0 arguments 0 folders 0"), "{said:?}");
}
