//! `plugin mode` and `plugin remove`.

use super::access::{expect_manifest, explain, node_acl, publish};
use crate::cli::client::Client;
use crate::model::{ErrorCode, path};
use crate::plugin::PLUGINS;
use crate::plugin::manifest::Mode;
use crate::wire::request::Request;

pub(super) async fn set_mode(client: &mut Client, authenticated: bool, name: &str, mode: Mode) -> anyhow::Result<()> {
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    let former = std::mem::replace(&mut manifest.mode, mode);
    if former == mode {
        println!("{name} is in mode {} already", mode.name());
        return Ok(());
    }
    manifest.version = manifest.version.saturating_add(1);
    publish(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    println!("{name}: mode {}, was {}", mode.name(), former.name());
    Ok(())
}

pub(super) async fn remove(client: &mut Client, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let node = path::join(PLUGINS, name);
    let versions = path::join(&node, "versions");
    let mut nodes = Vec::new();
    match client.children(&versions).await {
        Ok(names) => {
            nodes.extend(names.iter().map(|version| path::join(&versions, version)));
            nodes.push(versions);
        }
        Err(error) if error.code() == Some(ErrorCode::NoNode) => {}
        Err(error) => return Err(explain(client, error).await),
    }
    nodes.push(node);
    let requests = nodes.into_iter().map(|path| Request::Delete { path: Some(path), version: -1 }).collect();
    match client.multi(requests).await {
        Ok(_) => {
            println!(
                "{name} is removed; its component goes from the tree within the hour unless another plugin uses it"
            );
            Ok(())
        }
        Err(error) => Err(explain(client, error).await),
    }
}
