//! A network namespace for each member, all on one bridge: clients reach each from here, and members each other, until it
//! is cut. Needs root and `ip`; without them a test says so and is skipped.
//!
//! A cut gives a neighbour an Ethernet address that nobody has: packets leave and never arrive, those of open
//! connections and those of new ones alike. So does a cable that is pulled somewhere in between.

use super::{Ensemble, Site};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody has it.
const NOBODY: &str = "02:00:00:00:00:ff";

/// Bridge, namespaces and addresses; gone when dropped.
pub struct Network {
    /// What all names begin with.
    name: String,
    members: usize,
    /// The third number of all addresses.
    subnet: u8,
}

/// One for each network of this process.
static NETWORKS: AtomicU8 = AtomicU8::new(0);

impl Network {
    /// None where that is not permitted; says so.
    pub fn new(members: usize) -> Option<Network> {
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
    pub fn start(&self) -> Ensemble {
        let sites: Vec<Site> = (0..self.members)
            .map(|member| Site {
                host: self.address(member),
                ports: [2181, 2888, 3888],
                through: ["ip", "netns", "exec", &self.namespace(member)].map(str::to_owned).to_vec(),
            })
            .collect();
        Ensemble::start_at(&sites)
    }

    /// From now on nothing that one of the two sends reaches the other.
    pub fn cut(&self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    pub fn cut_one_way(&self, from: usize, to: usize) {
        let arguments = ["-n", &self.namespace(from), "neigh", "replace", &self.address(to), "lladdr", NOBODY];
        ip(&[&arguments[..], &["nud", "permanent", "dev", "eth0"]].concat()).expect("a neighbour can be set");
    }

    /// Cuts a member off from all others; clients still reach it.
    pub fn isolate(&self, member: usize) {
        (0..self.members).filter(|&other| other != member).for_each(|other| self.cut(member, other));
    }

    /// Everyone reaches everyone again.
    pub fn heal(&self) {
        for from in 0..self.members {
            for to in (0..self.members).filter(|&to| to != from) {
                // Fails where there is no entry, and then there was no cut.
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

    /// The bridge's end of a member's cable.
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
