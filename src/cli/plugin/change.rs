//! `plugin mode`, `plugin settings` and `plugin remove`.

use super::access::{expect_manifest, explain, node_acl};
use super::life;
use super::options::read_settings;
use crate::cli::client::Client;
use crate::model::path;
use crate::plugin::PLUGINS;
use crate::plugin::manifest::{self, Mode};
use anyhow::anyhow;

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
    // As the server will see it.
    manifest::parse(&serde_json::to_vec(&manifest)?).map_err(|error| anyhow!(error))?;
    manifest.version = life::next_version(client, name).await?;
    life::bring_into_force(client, name, &manifest, Some(node_version), &node_acl(authenticated)).await?;
    println!("{name} version {}: {}", manifest.version, manifest.settings);
    Ok(())
}

pub(super) async fn remove(client: &mut Client, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let mut nodes = life::below(client, &path::join(PLUGINS, name)).await?;
    nodes.push(path::join(PLUGINS, name));
    let requests = nodes.into_iter().map(life::delete).collect();
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
