//! The versions of a plugin: bringing one into force, trying one beside the one in force, and going back. Each step is
//! one multi, so it happens at one zxid or not at all. The server checks each manifest as it checks a deployment.

use super::access::{expect_manifest, explain, node_acl, submit};
use crate::client::{Client, create_request};
use crate::limits;
use crate::model::control_plane::{CANARY, CRASHES, QUARANTINE, VERSIONS};
use crate::model::{AclEntry, ErrorCode, path};
use crate::plugin::PLUGINS;
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::quarantine::Quarantine;
use crate::wire::request::Request;
use anyhow::{Context, bail};
use bytes::Bytes;
use std::collections::BTreeMap;

fn node_of(name: &str) -> String {
    path::join(PLUGINS, name)
}

/// Makes `manifest` the one in force, with a copy among the versions. The same multi removes the former version's
/// quarantine and crash reports, and the versions that are not kept any longer. `former`: the version of the manifest's
/// node, so that this deployment fails if somebody else has deployed meanwhile.
pub(crate) async fn bring_into_force(
    client: &mut Client,
    name: &str,
    manifest: &Manifest,
    former: Option<i32>,
    acl: &[AclEntry],
) -> anyhow::Result<()> {
    let node = node_of(name);
    let data = serde_json::to_vec_pretty(manifest)?;
    let mut requests = vec![match former {
        Some(version) => set(&node, &data, version),
        None => create_request(&node, &data, 0, acl),
    }];
    keep_version(client, name, manifest, acl, &mut requests).await?;
    requests.extend(reproaches(client, &node).await?.into_iter().map(delete));
    submit(client, requests).await
}

/// As `bring_into_force`, for a version on trial.
pub(crate) async fn put_on_trial(
    client: &mut Client,
    name: &str,
    manifest: &Manifest,
    acl: &[AclEntry],
) -> anyhow::Result<()> {
    let node = path::join(&node_of(name), CANARY);
    let data = serde_json::to_vec_pretty(manifest)?;
    let mut requests = vec![match client.exists(&node).await? {
        Some(stat) => set(&node, &data, stat.version),
        None => create_request(&node, &data, 0, acl),
    }];
    keep_version(client, name, manifest, acl, &mut requests).await?;
    requests.extend(reproaches(client, &node).await?.into_iter().map(delete));
    submit(client, requests).await
}

/// The requests that add a copy of a manifest to the versions, and remove the oldest ones that are not kept.
async fn keep_version(
    client: &mut Client,
    name: &str,
    manifest: &Manifest,
    acl: &[AclEntry],
    requests: &mut Vec<Request>,
) -> anyhow::Result<()> {
    let folder = path::join(&node_of(name), VERSIONS);
    let data = serde_json::to_vec_pretty(manifest)?;
    if client.exists(&node_of(name)).await?.is_none() || client.exists(&folder).await?.is_none() {
        requests.push(create_request(&folder, b"", 0, acl));
    }
    let mut there = versions_of(client, name).await?;
    let node = path::join(&folder, &manifest.version.to_string());
    match there.contains_key(&manifest.version) {
        true => requests.push(set(&node, &data, -1)),
        false => requests.push(create_request(&node, &data, 0, acl)),
    }
    let in_use = [read(client, &node_of(name)).await?, read(client, &path::join(&node_of(name), CANARY)).await?];
    there.retain(|version, _| {
        *version != manifest.version && in_use.iter().flatten().all(|used| used.version != *version)
    });
    let surplus = (there.len() + 1).saturating_sub(limits::PLUGIN_VERSIONS_KEPT);
    requests.extend(there.into_keys().take(surplus).map(|old| delete(path::join(&folder, &old.to_string()))));
    Ok(())
}

/// The number of the next deployment.
pub(crate) async fn next_version(client: &mut Client, name: &str) -> anyhow::Result<u32> {
    let in_force = read(client, &node_of(name)).await?.map_or(0, |manifest| manifest.version);
    let newest = versions_of(client, name).await?.into_keys().max().unwrap_or(0);
    Ok(newest.max(in_force).saturating_add(1))
}

pub(crate) async fn promote(client: &mut Client, authenticated: bool, name: &str) -> anyhow::Result<()> {
    let (in_force, node_version) = expect_manifest(client, name).await?;
    let node = path::join(&node_of(name), CANARY);
    let Some(mut manifest) = read(client, &node).await? else {
        bail!(
            "{name} has no version on trial: deploy one with --canary PATH; a version in mode audit is brought to enforce by \
             `wasmkeeper plugin mode {name} enforce`"
        );
    };
    manifest.canary.clear();
    // The version on trial may have been in mode audit. From now on it has the mode of the version that was in force.
    manifest.mode = in_force.mode;
    let mut requests = vec![set(&node_of(name), &serde_json::to_vec_pretty(&manifest)?, node_version)];
    keep_version(client, name, &manifest, &node_acl(authenticated), &mut requests).await?;
    requests.extend(reproaches(client, &node_of(name)).await?.into_iter().map(delete));
    requests.extend(below(client, &node).await?.into_iter().chain([node]).map(delete));
    submit(client, requests).await?;
    println!("{name} version {} is in force for all paths, mode {}", manifest.version, manifest.mode.name());
    Ok(())
}

pub(crate) async fn abort(client: &mut Client, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let node = path::join(&node_of(name), CANARY);
    let Some(manifest) = read(client, &node).await? else { bail!("{name} has no version on trial") };
    let requests = below(client, &node).await?.into_iter().chain([node]).map(delete).collect();
    submit(client, requests).await?;
    println!("{name} version {} is no longer on trial", manifest.version);
    Ok(())
}

pub(crate) async fn roll_back(client: &mut Client, name: &str, to: Option<u32>) -> anyhow::Result<()> {
    let (in_force, node_version) = expect_manifest(client, name).await?;
    let kept = versions_of(client, name).await?;
    let wanted = match to {
        Some(to) => to,
        None => {
            *kept
                .range(..in_force.version)
                .next_back()
                .with_context(|| format!("{name} has no version before {}", in_force.version))?
                .0
        }
    };
    if wanted == in_force.version {
        println!("{name} version {wanted} is in force already");
        return Ok(());
    }
    let Some(manifest) = kept.get(&wanted) else {
        let there: Vec<String> = kept.keys().map(u32::to_string).collect();
        bail!("{name} has no version {wanted}; there are {}", there.join(", "));
    };
    let mut manifest = manifest.clone();
    // That version may have been on trial only, so its canary paths are dropped.
    manifest.canary.clear();
    let mut requests = vec![set(&node_of(name), &serde_json::to_vec_pretty(&manifest)?, node_version)];
    requests.extend(reproaches(client, &node_of(name)).await?.into_iter().map(delete));
    submit(client, requests).await?;
    println!("{name} version {wanted} is in force again, mode {}; it was {}", manifest.mode.name(), in_force.version);
    Ok(())
}

pub(crate) async fn versions(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let (in_force, _) = expect_manifest(client, name).await?;
    let on_trial = read(client, &path::join(&node_of(name), CANARY)).await?;
    let mut kept = versions_of(client, name).await?;
    kept.entry(in_force.version).or_insert_with(|| in_force.clone());
    println!("{:>7}  {:<12} {:<8} {:<9} {:<24} SETTINGS", "VERSION", "SHA256", "MODE", "", "SOURCE");
    for (version, manifest) in kept.iter().rev() {
        let note = match () {
            () if *version == in_force.version => "in force",
            () if on_trial.as_ref().is_some_and(|trial| trial.version == *version) => "on trial",
            () => "",
        };
        println!(
            "{version:>7}  {:<12} {:<8} {note:<9} {:<24} {}",
            &manifest.component.sha256[..12],
            manifest.mode.name(),
            manifest.component.source,
            manifest.settings
        );
    }
    Ok(())
}

pub(crate) async fn release(client: &mut Client, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let mut nodes = Vec::new();
    for node in [node_of(name), path::join(&node_of(name), CANARY)] {
        if let Some(quarantine) = quarantine(client, &node).await? {
            println!("{name} version {} was under quarantine: {}", quarantine.version, quarantine.reason);
        }
        nodes.extend(reproaches(client, &node).await?);
    }
    if nodes.is_empty() {
        println!("{name} is not under quarantine");
        return Ok(());
    }
    submit(client, nodes.into_iter().map(delete).collect()).await?;
    println!("{name} is called again");
    Ok(())
}

/// The quarantine at a plugin's node. None: there is none.
pub(crate) async fn quarantine(client: &mut Client, node: &str) -> anyhow::Result<Option<Quarantine>> {
    let data = data(client, &path::join(node, QUARANTINE)).await?;
    Ok(data.and_then(|data| serde_json::from_slice(&data).ok()))
}

/// The quarantine and the crash reports at that node, children before parents.
async fn reproaches(client: &mut Client, node: &str) -> anyhow::Result<Vec<String>> {
    let mut nodes = Vec::new();
    for name in [QUARANTINE, CRASHES] {
        let reproach = path::join(node, name);
        if client.exists(&reproach).await?.is_some() {
            nodes.extend(below(client, &reproach).await?);
            nodes.push(reproach);
        }
    }
    Ok(nodes)
}

/// All nodes below `root`, children before parents.
pub(crate) async fn below(client: &mut Client, node: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut to_look_at = vec![node.to_owned()];
    while let Some(parent) = to_look_at.pop() {
        for name in children(client, &parent).await? {
            let child = path::join(&parent, &name);
            to_look_at.push(child.clone());
            found.push(child);
        }
    }
    // Each node was found after its parent.
    found.reverse();
    Ok(found)
}

/// The manifests of the versions that are kept, by number.
async fn versions_of(client: &mut Client, name: &str) -> anyhow::Result<BTreeMap<u32, Manifest>> {
    let folder = path::join(&node_of(name), VERSIONS);
    let mut versions = BTreeMap::new();
    for number in children(client, &folder).await? {
        let Some(manifest) = read(client, &path::join(&folder, &number)).await? else { continue };
        if let Ok(number) = number.parse() {
            versions.insert(number, manifest);
        }
    }
    Ok(versions)
}

/// The manifest at `node`. None: there is no node, or its data are no manifest.
async fn read(client: &mut Client, node: &str) -> anyhow::Result<Option<Manifest>> {
    Ok(data(client, node).await?.and_then(|data| manifest::parse(&data).ok()))
}

async fn data(client: &mut Client, node: &str) -> anyhow::Result<Option<Bytes>> {
    match client.get(node).await {
        Ok((data, _)) => Ok(Some(data)),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
        Err(error) => Err(explain(client, error).await),
    }
}

async fn children(client: &mut Client, node: &str) -> anyhow::Result<Vec<String>> {
    match client.children(node).await {
        Ok(names) => Ok(names),
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(Vec::new()),
        Err(error) => Err(explain(client, error).await),
    }
}

fn set(node: &str, data: &[u8], version: i32) -> Request {
    Request::SetData { path: Some(node.to_owned()), data: Some(Bytes::copy_from_slice(data)), version }
}

pub(crate) fn delete(path: String) -> Request {
    Request::Delete { path: Some(path), version: -1 }
}
