//! `plugin mode`, `plugin settings` and `plugin remove`.

use super::access::{expect_manifest, explain, node_acl};
use super::life;
use super::options::read_settings;
use crate::client::Client;
use crate::model::{chores, path};
use crate::plugin::PLUGINS;
use crate::plugin::manifest::{self, Mode};
use anyhow::anyhow;

/// How many timers are removed in one request.
const DELETED_AT_ONCE: usize = 500;

pub(super) async fn set_mode(client: &mut Client, authenticated: bool, name: &str, mode: Mode) -> anyhow::Result<()> {
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    let former = std::mem::replace(&mut manifest.mode, mode);
    if former == mode {
        println!("{name} is in mode {} already", mode.name());
        return Ok(());
    }
    manifest.version = life::next_version(client, name).await?;
    life::bring_into_force(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    println!("{name}: mode {}, was {}", mode.name(), former.name());
    Ok(())
}

pub(super) async fn set_settings(
    client: &mut Client,
    authenticated: bool,
    name: &str,
    text: &str,
) -> anyhow::Result<()> {
    let settings = read_settings("SETTINGS", text)?;
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    manifest.settings = settings;
    // Checks the manifest as the server will.
    manifest::parse(&serde_json::to_vec(&manifest)?).map_err(|error| anyhow!(error))?;
    manifest.version = life::next_version(client, name).await?;
    life::bring_into_force(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    println!("{name} version {}: {}", manifest.version, manifest.settings);
    Ok(())
}

/// Removes a plugin with all its versions, and all that the server keeps for it.
pub(super) async fn remove(client: &mut Client, authenticated: bool, name: &str) -> anyhow::Result<()> {
    let (mut manifest, node_version) = expect_manifest(client, name).await?;
    let node = path::join(PLUGINS, name);
    let timers = chores::timers_path(name);
    if client.exists(&timers).await?.is_some() && manifest.mode != Mode::Off {
        // The plugin is switched off first, so that it sets no timers while they are removed. Many take several
        // requests.
        manifest.mode = Mode::Off;
        manifest.version = life::next_version(client, name).await?;
        life::bring_into_force(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    }
    for some in life::below(client, &timers).await?.chunks(DELETED_AT_ONCE) {
        let deletes = some.iter().cloned().map(life::delete).collect();
        if let Err(error) = client.multi(deletes).await {
            return Err(explain(client, error).await);
        }
    }
    let mut nodes = life::below(client, &node).await?;
    nodes.push(node);
    match client.multi(nodes.into_iter().map(life::delete).collect()).await {
        Ok(_) => {
            println!(
                "{name} is removed; its component goes from the tree within the hour unless another plugin uses it"
            );
            Ok(())
        }
        Err(error) => Err(explain(client, error).await),
    }
}
