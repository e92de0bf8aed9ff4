//! `plugin new`: makes a project that works, for its author to change.
//!
//! All files of a project are part of this program: the contract, a starter of each kind in each language
//! (`templates`), and for Rust the crate for authors. So `plugin new` needs no network and no repository, and the
//! project fits this server.

use super::options::kind;
use crate::plugin::manifest::{self, Kind};
use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct New {
    /// What the plugin is called, and the folder that is made for it: its last part is the name
    #[arg(value_name = "NAME")]
    folder: PathBuf,

    /// validator, policy, authenticator, recipe or controller
    #[arg(long, value_parser = kind, default_value = "validator")]
    kind: Kind,

    /// The language to write it in
    #[arg(long, value_enum)]
    lang: Language,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Language {
    Rust,
    /// JavaScript
    Js,
    Python,
}

/// The starters of one kind of plugin.
struct Starter {
    manifest: &'static str,
    /// The scenario for `plugin test`, the same for all languages.
    scenario: &'static str,
    rust: &'static str,
    js: &'static str,
    python: &'static str,
}

macro_rules! starter {
    ($kind:literal) => {
        Starter {
            manifest: include_str!(concat!("templates/", $kind, "/manifest.json")),
            scenario: include_str!(concat!("templates/", $kind, "/scenario.txt")),
            rust: include_str!(concat!("templates/", $kind, "/src/lib.rs")),
            js: include_str!(concat!("templates/", $kind, "/plugin.js")),
            python: include_str!(concat!("templates/", $kind, "/plugin.py")),
        }
    };
}

fn starter(kind: Kind) -> Starter {
    match kind {
        Kind::Validator => starter!("validator"),
        Kind::Policy => starter!("policy"),
        Kind::Authenticator => starter!("authenticator"),
        Kind::Recipe => starter!("recipe"),
        Kind::Controller => starter!("controller"),
    }
}

macro_rules! sdk {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../plugins/sdk/src/", $file)))),*]
    };
}

/// The sources of the crate for authors.
const SDK: &[(&str, &str)] = sdk![
    "bindings.rs",
    "export.rs",
    "kinds.rs",
    "lib.rs",
    "macros.rs",
    "path.rs",
    "rejection.rs",
    "settings.rs",
    "testing/mod.rs",
    "testing/server.rs",
    "testing/tree.rs",
    "tree.rs",
];

pub(super) fn run(new: &New) -> anyhow::Result<()> {
    let name = new.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    manifest::check_name(name).map_err(|sentence| anyhow!(sentence))?;
    let folder = new.folder.display();
    if fs::read_dir(&new.folder).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{folder} is there and is not empty: choose another name, or remove it");
    }
    for (file, text) in files(name, new.kind, new.lang) {
        let path = new.folder.join(&file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make the folder {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    println!("{folder} is a {} in {}; now:", new.kind.name(), new.lang.name());
    println!("  cd {folder}");
    println!("  {}", new.lang.tools());
    println!("  wasmkeeper plugin build");
    println!("README.md goes on from there");
    Ok(())
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::Js => "JavaScript",
            Language::Python => "Python",
        }
    }

    /// The file where an author begins.
    fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            Language::Js => "plugin.js",
            Language::Python => "plugin.py",
        }
    }

    /// The command that installs what `plugin build` needs.
    pub(super) fn tools(self) -> &'static str {
        match self {
            Language::Rust => "rustup target add wasm32-unknown-unknown",
            Language::Js => "npm install",
            Language::Python => "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        }
    }

    /// Rows of README.md.
    fn more_files(self) -> &'static str {
        match self {
            Language::Rust => {
                "| `vendor/wasmkeeper-plugin` | Wasmkeeper's crate for plugin authors; no need to change it |\n"
            }
            Language::Js => {
                "| `wasmkeeper.js` | what plugins in JavaScript share |\n| `package.json` | the toolchain, componentize-js |\n"
            }
            Language::Python => "| `requirements.txt` | the toolchain, componentize-py |\n",
        }
    }

    /// The end of README.md.
    fn hints(self) -> &'static str {
        match self {
            Language::Rust => {
                "\n`cargo test` runs the tests in `src/lib.rs` on this machine, against a tree in memory.\n\n\
                 Errors: `?` on what `view` answers refuses in the server's words; a panic ends the call as a fault, and its text is in\n\
                 the plugin's log.\n"
            }
            Language::Js => {
                "\nA `.wasm` file from JavaScript has 12 MB, since the engine is in it, and the server compiles it for 10 to 20 seconds\n\
                 when it is first deployed; a call takes some 0.1 ms. `console.log` writes to the plugin's log. There are no files and no network,\n\
                 `Date.now()` is the time of the call, and `setTimeout` cannot wait.\n"
            }
            Language::Python => {
                "\nA `.wasm` file from Python has 18 MB, since the interpreter is in it, and the server compiles it for 10 to 20 seconds\n\
                 when it is first deployed; a call takes some 0.1 ms. `print` writes to the plugin's log. There are no files and no network, and\n\
                 `time.time()` is the time of the call. For your editor, `.venv/bin/componentize-py -d wit -w WORLD bindings typings` writes the\n\
                 contract as Python classes, WORLD being the one in `manifest.json`.\n"
            }
        }
    }
}

/// The options that put a plugin of this kind to work, with the settings of its starter.
fn place(kind: Kind) -> &'static str {
    match kind {
        Kind::Validator => "--path '/app/**'",
        Kind::Policy => "--path '/app/**' --settings '{\"writers\":[\"digest:alice:YMtK3NrIdXbUzDMWKiSnTRLqM5g=\"]}'",
        Kind::Authenticator => "--scheme staff --settings '{\"logins\":[\"alice:secret\"]}'",
        Kind::Recipe => "--mount /counters",
        Kind::Controller => "--path '/services/**'",
    }
}

/// What to try then: commands of zkCli.
fn to_try(kind: Kind) -> &'static str {
    match kind {
        Kind::Validator => {
            "    create /app\n    create /app/x short             # fine\n    create /app/y ...               # more than 1024 bytes: BadArguments\n    \
             get /zookeeper/rejection        # says why\n"
        }
        Kind::Policy => {
            "    create /app\n    create /app/x data              # NoAuth\n    get /zookeeper/rejection        # says why\n    \
             addauth digest alice:secret\n    create /app/x data              # fine\n"
        }
        Kind::Authenticator => {
            "    addauth staff alice:secret\n    create /mine data staff:alice:cdrwa    # for alice alone\n"
        }
        Kind::Recipe => {
            "    create /counters\n    create /counters/hits\n    set /counters/hits +5\n    get /counters/hits              # 5\n"
        }
        Kind::Controller => {
            "    create /services\n    create /services/a\n    create /services/b\n    get /services/count             # 2\n"
        }
    }
}

/// The files of a project: path and text.
fn files(name: &str, kind: Kind, language: Language) -> Vec<(String, String)> {
    let starter = starter(kind);
    let filled = |text: &str| {
        text.replace("{{files}}", language.more_files())
            .replace("{{tools}}", language.tools())
            .replace("{{try}}", to_try(kind))
            .replace("{{more}}", language.hints())
            .replace("{{source}}", language.source())
            .replace("{{place}}", place(kind))
            .replace("{{kind}}", kind.name())
            .replace("{{crate}}", &name.replace('.', "-"))
            .replace("{{name}}", name)
    };
    let mut files = vec![
        ("README.md".to_owned(), filled(include_str!("templates/README.md"))),
        ("manifest.json".to_owned(), filled(starter.manifest)),
        ("scenarios/first.txt".to_owned(), filled(starter.scenario)),
        ("wit/plugin.wit".to_owned(), include_str!("../../../wit/plugin.wit").to_owned()),
    ];
    let mut add = |path: &str, text: &str| files.push((path.to_owned(), text.to_owned()));
    match language {
        Language::Rust => {
            add("src/lib.rs", starter.rust);
            add("Cargo.toml", &filled(include_str!("templates/Cargo.toml.in")));
            add(".gitignore", "/target\n*.wasm\n");
            add("vendor/wasmkeeper-plugin/Cargo.toml", include_str!("templates/sdk.toml.in"));
            for (file, text) in SDK {
                add(&format!("vendor/wasmkeeper-plugin/src/{file}"), text);
            }
        }
        Language::Js => {
            add("plugin.js", starter.js);
            add("wasmkeeper.js", include_str!("templates/wasmkeeper.js"));
            add("package.json", &filled(include_str!("templates/package.json")));
            add(".gitignore", "/node_modules\n*.wasm\n");
        }
        Language::Python => {
            add("plugin.py", starter.python);
            add("requirements.txt", include_str!("templates/requirements.txt"));
            add(".gitignore", "/.venv\n__pycache__\n/typings\n*.wasm\n");
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for kind in Kind::ALL {
            for language in [Language::Rust, Language::Js, Language::Python] {
                for (file, text) in files("my.plugin", kind, language) {
                    assert!(!text.contains("{{"), "{kind:?} {language:?} {file}");
                }
            }
        }
    }

    #[test]
    fn each_manifest_is_one_and_names_its_world() {
        for kind in Kind::ALL {
            let (_, text) =
                files("mine", kind, Language::Js).into_iter().find(|(file, _)| file == "manifest.json").unwrap();
            let section = manifest::parse_section(text.as_bytes()).unwrap();
            assert_eq!((section.name.as_str(), section.pure), ("mine", true));
            assert!(text.contains(&format!(r#""world": "{}""#, kind.name())));
        }
    }

    fn collect(folder: &Path, beside: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, beside, found);
            } else {
                found.insert(path.strip_prefix(beside).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn the_crate_for_authors_is_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk/src");
        let mut found = BTreeSet::new();
        collect(&folder, &folder, &mut found);
        assert_eq!(found, SDK.iter().map(|(file, _)| file.to_string()).collect());
    }

    /// What the crate needs stands in its own Cargo.toml, in its workspace's, and in the template.
    #[test]
    fn the_crate_for_authors_has_its_dependencies() {
        let read = |file: &str| -> toml::Table {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            fs::read_to_string(path).unwrap().parse().unwrap()
        };
        let (own, workspace) = (read("plugins/sdk/Cargo.toml"), read("plugins/Cargo.toml"));
        let template: toml::Table = include_str!("templates/sdk.toml.in").parse().unwrap();
        assert_eq!(template["features"], own["features"]);
        for (key, value) in template["package"].as_table().unwrap() {
            let real = workspace["workspace"]["package"].get(key).unwrap_or_else(|| &own["package"][key]);
            assert_eq!(value, real, "{key}");
        }
        let own = own["dependencies"].as_table().unwrap();
        assert_eq!(template["dependencies"].as_table().unwrap().len(), own.len());
        for (name, dependency) in own {
            let mut dependency = dependency.as_table().unwrap().clone();
            if dependency.remove("workspace").is_some() {
                dependency.extend(workspace["workspace"]["dependencies"][name].as_table().unwrap().clone());
            }
            assert_eq!(template["dependencies"][name].as_table().unwrap(), &dependency, "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let new = New { folder: folder.path().join("short"), kind: Kind::Policy, lang: Language::Python };
        run(&new).unwrap();
        assert!(folder.path().join("short/plugin.py").is_file());
        assert!(run(&new).unwrap_err().to_string().contains("is not empty"));
        let named = New { folder: folder.path().join("Short"), ..new };
        assert!(run(&named).unwrap_err().to_string().contains("no name for a plugin"));
    }
}
