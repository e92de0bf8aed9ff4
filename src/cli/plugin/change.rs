//! `plugin mode` and `plugin remove`.

use super::access::{expect_manifest, explain, node_acl, publish};
use crate::cli::client::Client;
use crate::model::{ErrorCode, chores, path};
use crate::plugin::PLUGINS;
use crate::plugin::manifest::Mode;
use crate::wire::request::Request;

/// Timers that go in one request.
const DELETED_AT_ONCE: usize = 500;

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

/// With all its versions, and what the server keeps for it.
pub(super) async fn remove(client: &mut Client, authenticated: bool, name: &str) -> anyhow::Result<()> {
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    let node = path::join(PLUGINS, name);
    let timers = chores::timers_path(name);
    let mut timers_left = children(client, &timers).await?;
    if timers_left.is_some() && manifest.mode != Mode::Off {
        // So that no more come while they go, which takes several requests if they are many.
        manifest.mode = Mode::Off;
        manifest.version = manifest.version.saturating_add(1);
        publish(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
        timers_left = children(client, &timers).await?;
    }
    for some in timers_left.iter().flatten().collect::<Vec<_>>().chunks(DELETED_AT_ONCE) {
        let deletes = some.iter().map(|timer| delete(path::join(&timers, timer))).collect();
        if let Err(error) = client.multi(deletes).await {
            return Err(explain(client, error).await);
        }
    }
    let versions = path::join(&node, "versions");
    let mut nodes = Vec::new();
    if let Some(names) = children(client, &versions).await? {
        nodes.extend(names.iter().map(|version| path::join(&versions, version)));
        nodes.push(versions);
    }
    if timers_left.is_some() {
        nodes.push(timers);
    }
    if children(client, &chores::owed_path(name)).await?.is_some() {
        nodes.push(chores::owed_path(name));
    }
    nodes.push(node);
    match client.multi(nodes.into_iter().map(delete).collect()).await {
        Ok(_) => {
            println!(
                "{name} is removed; its component goes from the tree within the hour unless another plugin uses it"
            );
            Ok(())
        }
        Err(error) => Err(explain(client, error).await),
    }
}

/// None: there is no such node.
async fn children(client: &mut Client, node: &str) -> anyhow::Result<Option<Vec<String>>> {
    match client.children(node).await {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
        Err(error) => Err(explain(client, error).await),
    }
}

fn delete(node: String) -> Request {
    Request::Delete { path: Some(node), version: -1 }
}
