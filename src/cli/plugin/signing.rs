//! `plugin keygen`, `plugin sign`, and the signature that is deployed with a component.

use super::source::read_source;
use crate::plugin::component;
use crate::plugin::signature::{Key, Signature};
use anyhow::{Context, anyhow};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Makes a key. Never overwrites a file.
pub(crate) fn keygen(file: &Path) -> anyhow::Result<()> {
    let (key, pem) = Key::generate().map_err(|error| anyhow!(error))?;
    let mut options = std::fs::OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("create {}", file.display()))?;
    written.write_all(pem.as_bytes()).with_context(|| format!("write {}", file.display()))?;
    println!("{} is for you alone. Servers are told (pluginSigners, docs/plugins.md):", file.display());
    println!("pluginSigners=NAME={}", key.public());
    Ok(())
}

/// Signs a component. Refuses a file that no server could load, so that a wrong file is noticed now.
pub(crate) fn sign(source: &str, key: &Path, out: Option<PathBuf>) -> anyhow::Result<()> {
    let component = read_source(source)?;
    component::inspect(&component).map_err(|sentence| anyhow!("{source}: {sentence}; nothing is signed"))?;
    let pem = std::fs::read_to_string(key).with_context(|| format!("--key: read {}", key.display()))?;
    let key = Key::of_pem(&pem).map_err(|error| anyhow!("--key: {}: {error}", key.display()))?;
    let signature = key.sign(&component);
    let out = out.unwrap_or_else(|| match source.strip_prefix("bundled:") {
        Some(name) => format!("{name}.wasm.sig").into(),
        None => beside_file(source),
    });
    let text = serde_json::to_string(&signature)? + "\n";
    std::fs::write(&out, text).with_context(|| format!("write {}", out.display()))?;
    println!("{} is the signature of {source} by {}", out.display(), signature.signer);
    Ok(())
}

/// The signature to deploy with a component: the file that is named, or the one beside the component. Fails if the
/// signature is not that of the component.
pub(crate) fn beside(source: &str, named: Option<&Path>, component: &[u8]) -> anyhow::Result<Option<Signature>> {
    let file = match named {
        Some(file) => file.to_owned(),
        None if source.starts_with("bundled:") => return Ok(None),
        None => match beside_file(source) {
            file if file.exists() => file,
            _ => return Ok(None),
        },
    };
    let text = std::fs::read_to_string(&file).with_context(|| format!("--signature: read {}", file.display()))?;
    let signature: Signature = serde_json::from_str(&text)
        .with_context(|| format!("--signature: {} is none: `wasmkeeper plugin sign` makes one", file.display()))?;
    signature.verify(component).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    Ok(Some(signature))
}

fn beside_file(source: &str) -> PathBuf {
    format!("{source}.sig").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_of_plugins_are_signed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let key = file("key.pem");
        keygen(&key).unwrap();
        for (bytes, found) in [
            (&b"a text"[..], "not a WebAssembly component: it does not begin as WebAssembly does"),
            (b"\0asm\x0d\0\x01\0", "does not export wasmkeeper:plugin/setup"),
        ] {
            let source = file("source.wasm");
            std::fs::write(&source, bytes).unwrap();
            let error = format!("{:#}", sign(source.to_str().unwrap(), &key, None).unwrap_err());
            assert!(error.starts_with(source.to_str().unwrap()) && error.contains(found), "{error}");
        }
        assert!(!file("source.wasm.sig").exists());
        let out = file("guard.sig");
        sign("bundled:guard", &key, Some(out.clone())).unwrap();
        let component = read_source("bundled:guard").unwrap();
        assert!(beside("bundled:guard", Some(&out), &component).unwrap().is_some());
    }
}
