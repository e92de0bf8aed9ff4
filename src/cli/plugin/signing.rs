//! Keys and signatures, without a server.

use super::source::read_source;
use crate::plugin::signature::{Key, Signature};
use anyhow::{Context, anyhow};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Makes a key; a file that is there is never overwritten.
pub fn keygen(file: &Path) -> anyhow::Result<()> {
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

pub fn sign(source: &str, key: &Path, out: Option<PathBuf>) -> anyhow::Result<()> {
    let pem = std::fs::read_to_string(key).with_context(|| format!("--key: read {}", key.display()))?;
    let key = Key::of_pem(&pem).map_err(|error| anyhow!("--key: {}: {error}", key.display()))?;
    let signature = key.sign(&read_source(source)?);
    let out = out.unwrap_or_else(|| match source.strip_prefix("bundled:") {
        Some(name) => format!("{name}.wasm.sig").into(),
        None => beside_file(source),
    });
    let text = serde_json::to_string(&signature)? + "\n";
    std::fs::write(&out, text).with_context(|| format!("write {}", out.display()))?;
    println!("{} is the signature of {source} by {}", out.display(), signature.signer);
    Ok(())
}

/// The signature to be deployed with a component: the one that is named, or that lies beside the file. It fits.
pub fn beside(source: &str, named: Option<&Path>, component: &[u8]) -> anyhow::Result<Option<Signature>> {
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
