//! Plugins through the real binary and its command line: deployment, calls, containment of failures, and restarts.
//!
//! Each test uses two threads. One of them waits for the command line, and the client must answer pings in the
//! meantime.

use crate::process::{Server, wasmkeeper, words};
use serde_json::Value;
use std::path::Path;
use zookeeper_client::{Acls, Client, CreateMode, Error};

const GUARD: &str = r#"{"max_bytes":4096,"require_json":["owner"]}"#;

const SUPER_DIGEST: &str = "zookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Runs `wasmkeeper plugin ...` against a server. Returns whether it succeeded, and its output.
fn plugin(server: &Server, arguments: &[&str]) -> (bool, String) {
    let output = wasmkeeper(&["plugin", "--server", &server.address()]).args(arguments).output().expect("it runs");
    (output.status.success(), words(&output))
}

pub(crate) fn succeeds(server: &Server, arguments: &[&str]) -> String {
    let (well, words) = plugin(server, arguments);
    assert!(well, "wasmkeeper plugin {arguments:?}: {words}");
    words
}

pub(crate) fn fails(server: &Server, arguments: &[&str]) -> String {
    let (well, words) = plugin(server, arguments);
    assert!(!well, "wasmkeeper plugin {arguments:?}: {words}");
    assert!(words.starts_with("wasmkeeper: ") && words.trim_end().lines().count() == 1, "one sentence: {words}");
    words
}

fn deploy_guard(server: &Server) -> String {
    let bound = ["--name", "names", "--path", "/services/**", "--settings", GUARD];
    succeeds(server, &[&["deploy", "bundled:guard"], &bound[..]].concat())
}

/// Deploys the guest that misbehaves in the way `what`. `more`: further arguments.
fn deploy_naughty(server: &Server, name: &str, what: &str, more: &[&str]) -> String {
    let (path, settings) = (format!("/{name}/**"), format!(r#"{{"do":"{what}"}}"#));
    let bound = [
        "deploy",
        env!("WASMKEEPER_NAUGHTY"),
        "--kind",
        "validator",
        "--name",
        name,
        "--path",
        &path,
        "--settings",
        &settings,
    ];
    succeeds(server, &[&bound[..], more].concat())
}

/// Many expensive validators at one path cost a write no more than the fuel of one transaction and one call, and each
/// deployment says what it may cost.
#[tokio::test]
async fn many_validators_at_one_path_share_the_fuel_of_a_write() {
    const FUEL: u64 = 4_000_000;
    const TXN_FUEL: u64 = 12_000_000;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let fuel = FUEL.to_string();
    for at in 0..8 {
        let more = ["--path", "/shared/**", "--on-failure", "ignore", "--fuel", &fuel];
        let said = deploy_naughty(&server, &format!("n{at}"), "spin", &more);
        let most = ((at + 1) * FUEL).min(TXN_FUEL + FUEL);
        assert!(said.contains(&format!("a write there may cost {most} fuel")), "{said}");
    }
    let client = server.connect().await;
    create(&client, "/shared", "").await.unwrap();
    create(&client, "/shared/a", "").await.unwrap();
    let text = server.ask("mntr").unwrap();
    let totals = text.lines().filter(|line| line.contains("_fuel_total\t"));
    let used: u64 = totals.map(|line| line.rsplit('\t').next().unwrap().parse::<u64>().unwrap()).sum();
    assert!((TXN_FUEL - FUEL..=TXN_FUEL + FUEL).contains(&used), "{used}");
}

async fn create(client: &Client, path: &str, data: &str) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, data.as_bytes(), &options).await.map(drop)
}

/// Connects a client, and creates `folder`, the parent of the guarded znodes.
async fn client(server: &Server, folder: &str) -> Client {
    let client = server.connect().await;
    create(&client, folder, "").await.unwrap();
    client
}

async fn text(client: &Client, path: &str) -> String {
    String::from_utf8(client.get_data(path).await.unwrap_or_else(|error| panic!("{path}: {error}")).0).unwrap()
}

/// The newest refusal of this connection.
async fn rejection(client: &Client) -> String {
    text(client, "/zookeeper/rejection").await.lines().next().unwrap_or_default().to_owned()
}

async fn counters(client: &Client, name: &str) -> Value {
    serde_json::from_str(&text(client, &format!("/zookeeper/plugins/{name}/counters")).await).unwrap()
}

async fn status(client: &Client, name: &str) -> Value {
    serde_json::from_str(&text(client, &format!("/zookeeper/plugins/{name}/status")).await).unwrap()
}

fn bad_arguments() -> Result<(), Error> {
    Err(Error::BadArguments(&""))
}

/// The result without the error's text, which comes from the client library.
fn code(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::BadArguments(_)) => bad_arguments(),
        other => other,
    }
}

async fn is_enforced(client: &Client) {
    assert_eq!(code(create(client, "/services/b", "{}").await), bad_arguments());
    let said = rejection(client).await;
    assert!(said.contains(r#"names: /services/b: field "owner" is missing"#), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_from_its_deployment_to_its_removal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = client(&server, "/services").await;
    assert!(succeeds(&server, &["list"]).contains("no plugins"));
    assert!(deploy_guard(&server).contains("names version 1 is deployed"));
    create(&client, "/services/a", r#"{"owner":"pay"}"#).await.unwrap();
    is_enforced(&client).await;
    assert_eq!(client.check_stat("/services/b").await.unwrap(), None);
    let long = format!(r#"{{"owner":"{}"}}"#, "x".repeat(4096));
    assert_eq!(code(client.set_data("/services/a", long.as_bytes(), None).await.map(drop)), bad_arguments());
    assert!(rejection(&client).await.contains("names: /services/a: 4108 bytes, at most 4096 are allowed"));
    create(&client, "/elsewhere", "{}").await.unwrap();

    let listed = succeeds(&server, &["list"]);
    assert!(listed.contains("names") && listed.contains("enforce") && listed.contains("active"), "{listed}");
    let shown = succeeds(&server, &["show", "names"]);
    assert!(shown.contains("/services/**") && shown.contains("bundled:guard") && shown.contains("refusals"), "{shown}");
    let counted = counters(&client, "names").await;
    assert_eq!((&counted["calls"], &counted["refusals"]), (&3.into(), &2.into()));

    succeeds(&server, &["mode", "names", "audit"]);
    create(&client, "/services/b", "{}").await.unwrap();
    assert_eq!(counters(&client, "names").await["would_refuse"], 1);
    succeeds(&server, &["mode", "names", "off"]);
    create(&client, "/services/c", "{}").await.unwrap();
    assert_eq!(counters(&client, "names").await["calls"], 4);
    assert_eq!(status(&client, "names").await["state"], "off");
    succeeds(&server, &["mode", "names", "enforce"]);
    client.delete("/services/b", None).await.unwrap();
    is_enforced(&client).await;

    // The next version takes over at once.
    let bound = ["--name", "names", "--path", "/services/**", "--settings", r#"{"name":"svc-*"}"#];
    assert!(succeeds(&server, &[&["deploy", "bundled:guard"], &bound[..]].concat()).contains("version 5"));
    create(&client, "/services/svc-1", "{}").await.unwrap();
    assert_eq!(code(create(&client, "/services/x", "").await), bad_arguments());

    succeeds(&server, &["remove", "names"]);
    create(&client, "/services/x", "").await.unwrap();
    assert_eq!(client.list_children("/zookeeper/plugins").await.unwrap(), Vec::<String>::new());
    assert!(fails(&server, &["show", "names"]).contains("there is no plugin names"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let client = client(&server, "/services").await;
    deploy_guard(&server);
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut multi = client.new_multi_writer();
    multi.add_create("/one", b"", &options).unwrap();
    multi.add_create("/services/two", b"{}", &options).unwrap();
    multi.commit().await.unwrap_err();
    assert_eq!(client.check_stat("/one").await.unwrap(), None);
    assert!(rejection(&client).await.contains("/services/two"));
}

/// The files of compiled components.
fn compiled(data: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(data.join("plugins-cache")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_plugin_is_enforced_from_the_first_write_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    client(&server, "/services").await;
    deploy_guard(&server);
    let files = compiled(folder.path());
    let [file] = files.as_slice() else { panic!("one component is compiled: {files:?}") };
    let written = std::fs::metadata(file).unwrap().modified().unwrap();
    server.kill();
    server.restart();
    is_enforced(&server.connect().await).await;
    assert_eq!(std::fs::metadata(file).unwrap().modified().unwrap(), written, "what was compiled is used again");

    // A damaged, truncated or missing file of machine code is compiled again.
    let sound = std::fs::read(file).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    for bytes in [Some(&damaged[..]), Some(&sound[..20]), None] {
        assert!(server.terminate());
        match bytes {
            Some(bytes) => std::fs::write(file, bytes).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
        server.restart();
        is_enforced(&server.connect().await).await;
        let now = std::fs::read(file).unwrap();
        assert!(now.len() == sound.len() && now != damaged, "the file was written again");
    }
    assert!(server.said().contains("compiling the plugin again"), "{}", server.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_plugins_off_a_guarded_write_is_refused_and_a_plugin_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    client(&server, "/services").await;
    deploy_guard(&server);
    assert!(server.terminate());
    server.restart_with(&["--plugins", "off"]);
    let client = server.connect().await;
    create(&client, "/services/a", r#"{"owner":"pay"}"#).await.unwrap_err();
    assert!(rejection(&client).await.contains("--plugins off"));
    create(&client, "/elsewhere", "").await.unwrap();
    let again = ["deploy", "bundled:guard", "--name", "again"];
    assert!(fails(&server, &again).contains("--plugins on"));
    succeeds(&server, &["mode", "names", "off"]);
    create(&client, "/services/a", "{}").await.unwrap();
    succeeds(&server, &["remove", "names"]);
}

#[test]
fn without_a_server_the_command_line_names_the_address() {
    let nobody = format!("127.0.0.1:{}", crate::process::free_port());
    for arguments in [&["list"][..], &["deploy", "bundled:guard", "--name", "names"]] {
        let output = wasmkeeper(&["plugin", "--server", &nobody]).args(arguments).output().expect("it runs");
        let said = words(&output);
        assert!(!output.status.success() && said.contains(&format!("cannot connect to {nobody}")), "{said}");
    }
}

/// Writes go on while a component is compiled. The newest refusal is kept for each client separately.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_during_a_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (one, two) = (client(&server, "/services").await, server.connect().await);
    let address = server.address();
    let deployed = tokio::task::spawn_blocking(move || {
        let bound = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**", "--settings", GUARD];
        wasmkeeper(&["plugin", "--server", &address]).args(bound).output().expect("it runs")
    });
    let mut written = 0;
    while !deployed.is_finished() {
        // Before the plugin is in force it is not asked, and afterwards it accepts. The write never fails.
        create(&one, &format!("/services/n{written}"), r#"{"owner":"pay"}"#).await.unwrap();
        written += 1;
    }
    let output = deployed.await.unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert!(written > 1, "writes went on while the component was compiled");
    is_enforced(&one).await;
    assert_eq!(two.get_data("/zookeeper/rejection").await.unwrap_err(), Error::NoNode);
}

/// The bytes of a component that only imports an instance called `name`.
fn component_importing(name: &str) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // The type section: an instance type that exports nothing. Then the import section.
    bytes.extend([7, 3, 1, 0x42, 0]);
    bytes.extend([10, name.len() as u8 + 5, 1, 0, name.len() as u8]);
    bytes.extend(name.bytes());
    bytes.extend([5, 0]);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_deployment_names_the_reason_and_leaves_no_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let client = client(&server, "/services").await;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty = file("empty.wasm", b"\0asm\x0d\0\x01\0");
    let wasi = file("wasi.wasm", &component_importing("wasi:keyvalue/store@0.2.0"));
    let stranger = file("stranger.wasm", &component_importing("some:thing/else"));
    let core = file("core.wasm", b"\0asm\x01\0\0\0");
    let prose = file("prose.wasm", b"This is no component.");
    for (source, more, expected) in [
        ("bundled:nothing", &[][..], &["no bundled plugin nothing", "guard"][..]),
        ("/no/such/file.wasm", &[], &["/no/such/file.wasm"]),
        (&empty, &[], &["empty.wasm", "does not export wasmkeeper:plugin/setup"]),
        (&wasi, &[], &["wasi.wasm", "wasi:keyvalue/store@0.2.0"]),
        (&stranger, &[], &["stranger.wasm", "some:thing/else"]),
        (&core, &[], &["core.wasm", "does not export wasmkeeper:plugin/setup"]),
        (&prose, &[], &["prose.wasm", "not a WebAssembly component"]),
        ("bundled:guard", &["--settings", r#"{"max_bytes":"many"}"#], &["p: ", "settings: max_bytes: a number"]),
        ("bundled:guard", &["--settings", r#"{"maxbytes":1}"#], &["settings: maxbytes: there is no such", "max_bytes"]),
        ("bundled:guard", &["--settings", "{"], &["--settings", "JSON"]),
        ("bundled:guard", &["--settings", "[]"], &["settings: a JSON object is required"]),
        ("bundled:guard", &["--path", "services"], &["--path", "services"]),
        ("bundled:guard", &["--path", "/zookeeper/**"], &["/zookeeper"]),
        (
            env!("WASMKEEPER_NAUGHTY"),
            &["--kind", "validator", "--settings", r#"{"do":"configure-spin"}"#],
            &["failed to start"],
        ),
        (
            env!("WASMKEEPER_NAUGHTY"),
            &["--kind", "validator", "--settings", r#"{"do":"configure-panic"}"#],
            &["failed to start (panic)"],
        ),
    ] {
        let said = fails(&server, &[&["deploy", source, "--name", "p"], more].concat());
        expected.iter().for_each(|words| assert!(said.contains(words), "{source} {more:?}: {said}"));
    }
    assert!(fails(&server, &["deploy", "bundled:guard", "--name", "a/b"]).contains("a/b"));
    // Pieces of components may stay for an hour. No plugin may exist.
    let plugins = client.list_children("/zookeeper/plugins").await.unwrap_or_default();
    assert_eq!(plugins, Vec::<String>::new());
    assert_eq!(client.get_data("/zookeeper/plugins/p/status").await.unwrap_err(), Error::NoNode);
    create(&client, "/services/b", "{}").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misbehaving_guest_only_fails_the_write_that_called_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let other = client(&server, "/other").await;
    // The plugin's name, its misbehaviour, more arguments, and the classes of faults that may be counted.
    for (name, what, more, faults) in [
        ("spin", "spin", &[][..], &["fuel", "cpu"][..]),
        ("spin-long", "spin", &["--fuel", "100000000", "--deadline", "20ms"], &["cpu", "fuel"]),
        ("trap", "panic", &[], &["panic"]),
        ("hog", "grow", &["--fuel", "100000000", "--deadline", "1s"], &["memory"]),
        ("recursion", "nest", &["--fuel", "100000000", "--deadline", "1s"], &["stack"]),
        ("overflow", "overflow", &["--fuel", "100000000", "--deadline", "1s"], &[]),
        ("garbage", "code", &[], &["output"]),
        ("garbage-ok", "code-ok", &[], &["output"]),
        ("huge", "huge", &["--fuel", "100000000"], &[]),
    ] {
        let client = client(&server, &format!("/{name}")).await;
        deploy_naughty(&server, name, what, more);
        let path = format!("/{name}/x");
        // Other clients' writes go on at the same time.
        let written = async {
            for n in 0..10 {
                create(&other, &format!("/other/{name}-{n}"), "").await.unwrap();
            }
        };
        let (refused, ()) = tokio::join!(create(&client, &path, ""), written);
        refused.expect_err("the write is refused");
        let said = rejection(&client).await;
        assert!(said.contains(&format!("{name}: {path}: the plugin failed (")), "{what}: {said}");
        assert_eq!(client.check_stat(&path).await.unwrap(), None);
        let counted = counters(&client, name).await;
        let by_class = counted["faults"].as_object().unwrap();
        let count = |class: &str| by_class[class].as_u64().unwrap();
        let all: u64 = by_class.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!((&counted["calls"], all), (&1.into(), 1), "{what}: {counted}");
        assert!(faults.is_empty() || faults.iter().any(|class| count(class) == 1), "{what}: {counted}");

        // The session goes on. With `--on-failure ignore` the failing plugin lets the write pass.
        deploy_naughty(&server, name, what, &[more, &["--on-failure", "ignore"]].concat());
        create(&client, &path, "").await.unwrap();
        assert_eq!(counters(&client, name).await["let_pass"], 1, "{what}");
        succeeds(&server, &["remove", name]);
    }
    assert_eq!(other.list_children("/other").await.unwrap().len(), 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_superuser_configured_only_the_superuser_deploys() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["-D", SUPER_DIGEST]);
    let client = client(&server, "/services").await;
    let deploy = ["deploy", "bundled:guard", "--name", "names", "--path", "/services/**", "--settings", GUARD];
    for auth in [&[][..], &["--auth", "digest:alice:pw"], &["--auth", "digest:super:wrong"]] {
        let said = fails(&server, &[&deploy[..], auth].concat());
        assert!(said.contains("--auth digest:super:PASSWORD"), "{said}");
    }
    assert_eq!(create(&client, "/zookeeper/plugins/x", "{}").await.unwrap_err(), Error::NoAuth);
    let said = rejection(&client).await;
    assert!(said.contains("superuser"), "{said}");

    succeeds(&server, &[&deploy[..], &["--auth", "digest:super:test"]].concat());
    is_enforced(&client).await;
    // No other client may remove the plugin or read its settings.
    for arguments in [&["remove", "names"][..], &["mode", "names", "off"], &["list"]] {
        fails(&server, arguments);
    }
    assert_eq!(client.get_data("/zookeeper/plugins/names").await.map(drop).unwrap_err(), Error::NoAuth);
    is_enforced(&client).await;
    succeeds(&server, &["remove", "names", "--auth", "digest:super:test"]);
    create(&client, "/services/b", "{}").await.unwrap();
}
