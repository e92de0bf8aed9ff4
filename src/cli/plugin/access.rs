//! What the commands that talk to a server share: connecting, reading manifests, and showing why the server refuses.

use crate::client::{Client, ClientError};
use crate::limits;
use crate::model::control_plane::{PLUGINS, REJECTION};
use crate::model::{AclEntry, ErrorCode, Identity, acl, path};
use crate::plugin::manifest::{self, Manifest};
use crate::wire::request::Request;
use anyhow::{Context, anyhow};
use serde_json::Value;
use std::time::Duration;

/// How long connecting and ordinary requests may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a deployment may take: the leader compiles the component before it answers, and then a quorum does.
const DEPLOY_TIMEOUT: Duration =
    limits::COMPILE_WALL.saturating_add(limits::PREPARE_PATIENCE).saturating_add(Duration::from_secs(30));

pub(super) async fn connect(server: &str, auth: Option<&str>) -> anyhow::Result<Client> {
    let mut client = Client::connect(server, TIMEOUT).await?;
    if let Some(auth) = auth {
        let (scheme, credential) =
            auth.split_once(':').context("--auth: SCHEME:CREDENTIAL is required, for example digest:super:password")?;
        client.add_auth(scheme, credential.as_bytes()).await?;
    }
    Ok(client)
}

/// Sends one multi, which may be a deployment.
pub(super) async fn submit(client: &mut Client, requests: Vec<Request>) -> anyhow::Result<()> {
    client.set_timeout(DEPLOY_TIMEOUT);
    let answered = client.multi(requests).await;
    client.set_timeout(TIMEOUT);
    match answered {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(client, error).await),
    }
}

/// The manifest in force, and the version of its node. None: there is no plugin of that name.
pub(super) async fn read_manifest(client: &mut Client, name: &str) -> anyhow::Result<Option<(Manifest, i32)>> {
    manifest::check_name(name).map_err(|error| anyhow!(error))?;
    let node = path::join(PLUGINS, name);
    match client.get(&node).await {
        Ok((data, stat)) => {
            let manifest = manifest::parse(&data).map_err(|error| anyhow!("{node}: {error}"))?;
            Ok(Some((manifest, stat.version)))
        }
        Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
        Err(error) => Err(explain(client, error).await),
    }
}

pub(super) async fn expect_manifest(client: &mut Client, name: &str) -> anyhow::Result<(Manifest, i32)> {
    let found = read_manifest(client, name).await?;
    found.with_context(|| format!("there is no plugin {name}; `wasmkeeper plugin list` shows those there are"))
}

/// The JSON of a virtual node below the plugin's node, such as `status`. Null if the server has none.
pub(super) async fn virtual_json(client: &mut Client, name: &str, what: &str) -> Value {
    let node = format!("{PLUGINS}/{name}/{what}");
    let data = client.get(&node).await.ok().map(|(data, _)| data);
    data.and_then(|data| serde_json::from_slice(&data).ok()).unwrap_or(Value::Null)
}

/// The ACL of a plugin's nodes: only the client that deploys may read them, since settings may hold keys.
pub(super) fn node_acl(authenticated: bool) -> Vec<AclEntry> {
    if authenticated {
        vec![AclEntry { permissions: acl::ALL, who: Identity::new("auth", "") }]
    } else {
        acl::open_unsafe().to_vec()
    }
}

pub(super) async fn create_if_absent(
    client: &mut Client,
    node: &str,
    data: &[u8],
    acl: &[AclEntry],
) -> anyhow::Result<()> {
    match client.create_with_acl(node, data, 0, acl).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NodeExists) => Ok(()),
        Err(error) => Err(explain(client, error).await),
    }
}

/// The error, with the text that the server gave for the refusal, if there is one.
pub(super) async fn explain(client: &mut Client, error: ClientError) -> anyhow::Error {
    let Some(code) = error.code() else { return error.into() };
    let words = client.get(REJECTION).await.ok().map(|(words, _)| words);
    let words = words.as_deref().map(String::from_utf8_lossy);
    // The newest refusal comes first.
    match words.as_deref().and_then(|words| words.lines().next()).filter(|line| !line.is_empty()) {
        Some(line) => anyhow!("refused: {line}"),
        None if code == ErrorCode::NoAuth => {
            anyhow!(
                "{error}: plugins are the superuser's affair: pass --auth digest:super:PASSWORD; a server without a superuser \
                 gets one by zookeeper.DigestAuthenticationProvider.superDigest"
            )
        }
        None if code == ErrorCode::BadVersion => {
            anyhow!("{error}: somebody else has changed the plugin meanwhile; look and try again")
        }
        None => error.into(),
    }
}
