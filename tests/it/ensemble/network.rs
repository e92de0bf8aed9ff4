//! A network namespace for each member, all on one bridge. Clients on the host reach every member, and members reach
//! each other until their link is cut. This needs root and `ip`. Without them a test prints that, and is skipped.
//!
//! A cut maps a neighbour to an Ethernet address that no host has. Packets then leave and never arrive, both of open
//! and of new connections, as if a cable were pulled somewhere in between.

use super::{Ensemble, Site};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// An Ethernet address that no host has.
const NOBODY: &str = "02:00:00:00:00:ff";

/// A bridge, namespaces and addresses. Dropping the value removes them.
pub(crate) struct Network {
    /// The prefix of all names.
    name: String,
    members: usize,
    /// The third byte of all addresses.
    subnet: u8,
}

/// Counts the networks of this process, so that each has its own names and addresses.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

impl Network {
    /// Sets a network up. Prints the reason and returns `None` if that is not permitted here.
    pub(crate) fn new(members: usize) -> Option<Network> {
        let count = NETWORKS.fetch_add(1, Ordering::Relaxed);
        // Another process's tests may run on this machine.
        let subnet = (std::process::id() as u8).wrapping_mul(8).wrapping_add(count);
        let network =
            Network { name: format!("wk{}{}", std::process::id(), (b'a' + count % 26) as char), members, subnet };
        match network.set_up() {
            Ok(()) => Some(network),
            Err(why) => {
                println!("skipped: no network namespaces here (root and `ip` are needed): {why}");
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let bridge = self.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("10.213.{}.254/24", self.subnet), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for member in 0..self.members {
            let (namespace, port) = (self.namespace(member), self.port(member));
            ip(&["netns", "add", &namespace])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["link", "set", &port, "master", &bridge, "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("{}/24", self.address(member)), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    /// An ensemble with a member in each namespace.
    pub(crate) fn start(&self) -> Ensemble {
        let sites: Vec<Site> = (0..self.members)
            .map(|member| Site {
                host: self.address(member),
                ports: [2181, 2888, 3888],
                through: ["ip", "netns", "exec", &self.namespace(member)].map(str::to_owned).to_vec(),
            })
            .collect();
        Ensemble::start_at(&sites)
    }

    /// Cuts the link between two members, in both directions.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    pub(crate) fn cut_one_way(&self, from: usize, to: usize) {
        let arguments = ["-n", &self.namespace(from), "neigh", "replace", &self.address(to), "lladdr", NOBODY];
        ip(&[&arguments[..], &["nud", "permanent", "dev", "eth0"]].concat()).expect("a neighbour can be set");
    }

    /// Cuts a member off from all others; clients still reach it.
    pub(crate) fn isolate(&self, member: usize) {
        (0..self.members).filter(|&other| other != member).for_each(|other| self.cut(member, other));
    }

    /// Heals every cut.
    pub(crate) fn heal(&self) {
        for from in 0..self.members {
            for to in (0..self.members).filter(|&to| to != from) {
                // This fails if there is no entry, which means that there was no cut.
                let _ = ip(&["-n", &self.namespace(from), "neigh", "del", &self.address(to), "dev", "eth0"]);
            }
        }
    }

    fn address(&self, member: usize) -> String {
        format!("10.213.{}.{}", self.subnet, member + 1)
    }

    fn namespace(&self, member: usize) -> String {
        format!("{}-{}", self.name, member + 1)
    }

    /// The name of the bridge's end of a member's cable.
    fn port(&self, member: usize) -> String {
        format!("{}v{}", self.name, member + 1)
    }

    fn bridge(&self) -> String {
        format!("{}br", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for member in 0..self.members {
            let _ = ip(&["netns", "del", &self.namespace(member)]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("`ip` cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}
