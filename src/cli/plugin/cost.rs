//! What a write at the places of a plugin may cost, as `plugin deploy` prints it.
//!
//! The number is an upper bound in fuel. Plugins of kinds that judge or answer writes count. Most writes cost far less:
//! `plugin bench` and the counters show what calls take.

use super::access::read_manifest;
use crate::client::Client;
use crate::limits::{PLUGIN_FUEL, PLUGIN_TXN_FUEL};
use crate::model::path;
use crate::plugin::PLUGINS;
use crate::plugin::manifest::{Kind, Manifest, Mode};

/// A line about the plugin and all others that writes at its places may meet. None: no write asks it.
pub(super) async fn of_a_write(client: &mut Client, name: &str, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let own = places(manifest);
    if own.is_empty() {
        return Ok(None);
    }
    let mut fuels = vec![fuel(manifest)];
    for other in client.children(PLUGINS).await?.iter().filter(|other| *other != name) {
        let Some((other, _)) = read_manifest(client, other).await? else { continue };
        let meet = |place: &String| own.iter().any(|own| path::is_within(own, place) || path::is_within(place, own));
        if other.mode != Mode::Off && places(&other).iter().any(meet) {
            fuels.push(fuel(&other));
        }
    }
    Ok(Some(text(&fuels)))
}

/// Where writes ask the plugin, without `*`.
fn places(manifest: &Manifest) -> Vec<String> {
    match (manifest.kind, &manifest.mount) {
        (Kind::Recipe, Some(mount)) => vec![mount.clone()],
        (Kind::Validator | Kind::Policy, _) => {
            manifest.patterns().unwrap_or_default().iter().map(|pattern| pattern.base().to_owned()).collect()
        }
        (Kind::Recipe | Kind::Authenticator | Kind::Controller, _) => Vec::new(),
    }
}

fn fuel(manifest: &Manifest) -> u64 {
    manifest.limits.fuel.unwrap_or(PLUGIN_FUEL)
}

/// `fuels`: what one call of each plugin may use.
fn text(fuels: &[u64]) -> String {
    let all = fuels.iter().fold(0u64, |sum, fuel| sum.saturating_add(*fuel));
    let largest = fuels.iter().max().copied().unwrap_or_default();
    let most = all.min(PLUGIN_TXN_FUEL.saturating_add(largest));
    let ms = most.div_ceil(PLUGIN_FUEL);
    let whose = match fuels.len() {
        1 => String::new(),
        2 => ", with 1 other plugin there".to_owned(),
        count => format!(", with {} other plugins there", count - 1),
    };
    let mut text = format!("a write there may cost {most} fuel, some {ms} ms{whose}");
    if all > PLUGIN_TXN_FUEL {
        text.push_str(&format!(
            "; the plugins of one write share {PLUGIN_TXN_FUEL}, and if that is used up, further ones fail"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_fuel_bounds_the_cost() {
        assert_eq!(text(&[PLUGIN_FUEL]), "a write there may cost 2000000 fuel, some 1 ms");
        let two = text(&[PLUGIN_FUEL, 2 * PLUGIN_FUEL]);
        assert_eq!(two, "a write there may cost 6000000 fuel, some 3 ms, with 1 other plugin there");
        let many = text(&[PLUGIN_FUEL; 60]);
        assert!(many.starts_with("a write there may cost 14000000 fuel, some 7 ms, with 59 other"), "{many}");
        assert!(many.contains("share 12000000"), "{many}");
    }
}
