//! `plugin status` and `plugin faults`: ask each member in turn, at its client address, about a plugin.

use super::access::{connect, expect_manifest, virtual_json};
use super::life;
use crate::client::Client;
use crate::model::control_plane::{CANARY, MEMBERS, PLUGINS};
use crate::model::path;
use serde::Deserialize;
use serde_json::Value;

/// The content of `/zookeeper/members`.
#[derive(Deserialize)]
struct Members {
    asked: u32,
    leader: Option<u32>,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    id: u32,
    /// Where other members reach the member: `host:port:port`, several separated by `|`.
    address: String,
    /// Where clients reach the member: `host:port`, or a port alone.
    client: Option<String>,
}

/// A member, and where clients reach it. For the member that answers now, that is the address on the command line.
struct Place {
    id: u32,
    leads: bool,
    address: Option<String>,
}

async fn places(client: &mut Client, server: &str) -> anyhow::Result<Vec<Place>> {
    let (text, _) = client.get(MEMBERS).await?;
    let Members { asked, leader, members } = serde_json::from_slice(&text)?;
    let place = |member: &Member| {
        let address = match member.id == asked {
            true => Some(client.server().to_owned()).filter(|address| !address.is_empty()),
            false => client_address(member),
        };
        Place { id: member.id, leads: leader == Some(member.id), address }
    };
    let mut places: Vec<Place> = members.iter().map(place).collect();
    if places.is_empty() {
        places.push(Place { id: asked, leads: true, address: Some(server.to_owned()) });
    }
    Ok(places)
}

/// The member's client address. If it stands for all interfaces, its host is the one by which other members know it.
fn client_address(member: &Member) -> Option<String> {
    let client = member.client.as_deref()?;
    let (host, port) = client.rsplit_once(':').unwrap_or(("", client));
    let anywhere = ["", "0.0.0.0", "[::]", "::", "*"].contains(&host);
    let peer_host = member.address.split('|').next()?.rsplitn(3, ':').last()?;
    Some(format!("{}:{port}", if anywhere { peer_host } else { host }))
}

pub(crate) async fn status(client: &mut Client, server: &str, name: &str) -> anyhow::Result<()> {
    let (manifest, _) = expect_manifest(client, name).await?;
    println!("{name} version {} in mode {}", manifest.version, manifest.mode.name());
    let node = path::join(PLUGINS, name);
    if let Some(quarantine) = life::quarantine(client, &node).await?.filter(|it| it.version == manifest.version) {
        println!("under quarantine: {}; `wasmkeeper plugin release {name}` lets it be called again", quarantine.reason);
    }
    let keys = match client.exists(&path::join(&node, CANARY)).await? {
        Some(_) => vec![name.to_owned(), path::join(name, CANARY)],
        None => vec![name.to_owned()],
    };
    println!("{:>6}  {:<24} {:<16} {:>7}  {:<10} {:<16} REASON", "MEMBER", "ADDRESS", "", "VERSION", "STATE", "ENGINE");
    for Place { id, leads, address } in places(client, server).await? {
        let role = if leads { "leads" } else { "" };
        let shown = address.as_deref().unwrap_or("unknown");
        let answer = match &address {
            Some(address) => connect(address, None).await.map_err(|error| error.to_string()),
            None => Err("its client address is in no configuration".into()),
        };
        let mut member = match answer {
            Ok(member) => member,
            Err(why) => {
                println!("{id:>6}  {shown:<24} {role:<16} {:>7}  {:<10} {:<16} {why}", "?", "unknown", "");
                continue;
            }
        };
        for key in &keys {
            let status = virtual_json(&mut member, key, "status").await;
            let text = |what: &str| status[what].as_str().unwrap_or_default().to_owned();
            let state = if status.is_null() { "absent".into() } else { text("state") };
            let which = if key == name { role } else { "on trial" };
            println!(
                "{id:>6}  {shown:<24} {which:<16} {:>7}  {state:<10} {:<16} {}",
                status["version"].as_u64().map_or_else(|| "?".into(), |version| version.to_string()),
                text("engine"),
                text("reason")
            );
        }
        // The connection has served its purpose, so an error at its end does not matter.
        let _ = member.close().await;
    }
    Ok(())
}

pub(crate) async fn faults(client: &mut Client, server: &str, auth: Option<&str>, name: &str) -> anyhow::Result<()> {
    expect_manifest(client, name).await?;
    let mut some = false;
    for Place { id, address, .. } in places(client, server).await? {
        let Some(address) = address else { continue };
        let mut member = match connect(&address, auth).await {
            Ok(member) => member,
            Err(error) => {
                println!("member {id}: {error}");
                continue;
            }
        };
        for key in [name.to_owned(), path::join(name, CANARY)] {
            let faults = virtual_json(&mut member, &key, "faults").await;
            for fault in faults.as_array().into_iter().flatten() {
                some = true;
                print_fault(id, &key, fault);
            }
        }
        let _ = member.close().await;
    }
    if !some {
        println!("no faults of {name} since the servers started");
    }
    Ok(())
}

fn print_fault(member: u32, key: &str, fault: &Value) {
    let text = |what: &str| fault[what].as_str().unwrap_or_default();
    let session = fault["session"].as_str().map_or_else(String::new, |session| format!(", session {session}"));
    println!(
        "member {member}: {key} version {} at {}{session}: {} ({})",
        fault["version"],
        time(fault["at_ms"].as_i64().unwrap_or_default()),
        text("text"),
        text("class")
    );
    for (label, what) in [("log", "log"), ("at ", "backtrace")] {
        for line in fault[what].as_array().into_iter().flatten().filter_map(Value::as_str) {
            println!("  {label} {line}");
        }
    }
}

/// Unix milliseconds as a date and time in UTC.
fn time(ms: i64) -> String {
    let (days, ms_of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let seconds = ms_of_day / 1000;
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let since = days + 719_468;
    let (era, day) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_asked_where_clients_reach_them() {
        let member = |address: &str, client: Option<&str>| {
            client_address(&Member { id: 1, address: address.into(), client: client.map(String::from) })
        };
        assert_eq!(member("a:2888:3888", Some("b:2181")).as_deref(), Some("b:2181"));
        assert_eq!(member("a:2888:3888", Some("0.0.0.0:2181")).as_deref(), Some("a:2181"));
        assert_eq!(member("[::1]:2888:3888|a:1:2", Some("2181")).as_deref(), Some("[::1]:2181"));
        assert_eq!(member("a:2888:3888", None), None);
    }

    #[test]
    fn times() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_709_208_245_999), "2024-02-29T12:04:05Z");
    }
}
