//! Ensembles of real processes, as an operator starts them: a `zoo.cfg` and a `myid` each.
//!
//! | file | what |
//! |---|---|
//! | `load` | clients that write, and the writes that were acknowledged to them |
//! | `network` | a network namespace for each member; links between them can be cut |
//! | `together` | elections, reads and writes on any member |
//! | `failover` | members killed, stopped, restarted, with a full disk |
//! | `catching_up` | a member that was down while others wrote |
//! | `partitions` | cut networks |
//! | `clocks` | members whose wall clocks are wrong |
//! | `currency` | members that could answer with old data: removed, without entries, stopped for a while |
//! | `membership` | members that join and leave |

mod catching_up;
mod clocks;
mod currency;
mod failover;
mod load;
mod membership;
mod network;
mod partitions;
mod together;

use crate::process::{PATIENCE, Server, free_port};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A running ensemble. The server id of a member is its index in `members` plus one. Dropping the value ends the
/// members.
pub(crate) struct Ensemble {
    pub(crate) members: Vec<Server>,
    folder: tempfile::TempDir,
}

/// The address of a member, and how to start it.
struct Site {
    host: String,
    /// The ports for clients, for peers, and for elections. No server opens the election port.
    ports: [u16; 3],
    /// Programs to start it through, see `Server::launch`.
    through: Vec<String>,
}

/// A member's answer to `srvr`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) mode: String,
    pub(crate) zxid: u64,
}

impl Ensemble {
    /// Starts members on loopback, and waits until they serve.
    pub(crate) fn start(count: usize) -> Ensemble {
        Ensemble::start_through(count, &[])
    }

    /// Like `start`, but starts each member through the program `through`.
    pub(crate) fn start_through(count: usize, through: &[&str]) -> Ensemble {
        let ports = free_ports(count * 3);
        let sites = ports.chunks_exact(3).map(|ports| Site {
            host: Ipv4Addr::LOCALHOST.to_string(),
            ports: [ports[0], ports[1], ports[2]],
            through: through.iter().map(|word| word.to_string()).collect(),
        });
        Ensemble::start_at(&sites.collect::<Vec<Site>>())
    }

    fn start_at(sites: &[Site]) -> Ensemble {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lines: Vec<String> = (1..).zip(sites).map(|(id, site)| site.line(id)).collect();
        let members = (1..).zip(sites).map(|(id, site)| launch(folder.path(), id, site, &lines.join("\n")));
        let mut ensemble = Ensemble { members: members.collect(), folder };
        ensemble.wait_until_all_serve();
        ensemble
    }

    /// The connection string of clients: the addresses of all members.
    pub(crate) fn addresses(&self) -> String {
        let addresses: Vec<String> = self.members.iter().map(Server::address).collect();
        addresses.join(",")
    }

    /// The `zoo.cfg` of a member.
    pub(crate) fn configuration(&self, member: usize) -> std::path::PathBuf {
        configuration_file(self.folder.path(), member as u32 + 1)
    }

    /// The members that report to be leader. For a moment there can be two, if one of them is deposed and does not know
    /// yet.
    pub(crate) fn leaders(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&at| said(&self.members[at]).is_some_and(|it| it.mode == "leader")).collect()
    }

    /// The leader, once there is exactly one.
    pub(crate) fn leader(&mut self) -> usize {
        self.leader_among(&(0..self.members.len()).collect::<Vec<usize>>())
    }

    /// The leader, once exactly one of the members `asked` leads.
    pub(crate) fn leader_among(&mut self, asked: &[usize]) -> usize {
        let mut leaders = Vec::new();
        wait_until(&format!("one leader among {asked:?}"), || {
            leaders = self.leaders().into_iter().filter(|leader| asked.contains(leader)).collect();
            leaders.len() == 1
        });
        leaders[0]
    }

    /// A member that does not lead.
    pub(crate) fn a_follower(&mut self) -> usize {
        let leader = self.leader();
        (leader + 1) % self.members.len()
    }

    /// Waits until every member serves and knows one leader.
    pub(crate) fn wait_until_all_serve(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        for member in &mut self.members {
            while said(member).is_none() {
                member.assert_running();
                assert!(Instant::now() < deadline, "a member does not serve after a minute:\n{}", member.said());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.leader();
    }

    /// Waits until all members have applied the same zxid.
    pub(crate) fn wait_until_level(&self) {
        wait_until("all members have the same zxid", || {
            let zxids: Option<Vec<u64>> = self.members.iter().map(|member| Some(said(member)?.zxid)).collect();
            zxids.is_some_and(|zxids| zxids.windows(2).all(|pair| pair[0] == pair[1]))
        });
    }

    /// Starts a member that has ended, and waits until it serves.
    pub(crate) fn restart(&mut self, member: usize) {
        self.members[member].relaunch();
        self.wait_until_all_serve();
    }
}

impl Site {
    fn line(&self, id: u32) -> String {
        let [client, peer, election] = self.ports;
        format!("server.{id}={host}:{peer}:{election}:participant;{host}:{client}", host = self.host)
    }
}

/// The member's answer to `srvr`. `None` if the member does not serve.
pub(crate) fn said(member: &Server) -> Option<Said> {
    let text = member.ask("srvr")?;
    let value = |label: &str| text.lines().find_map(|line| line.strip_prefix(label));
    let zxid = u64::from_str_radix(value("Zxid: 0x")?, 16).ok()?;
    Some(Said { mode: value("Mode: ")?.to_owned(), zxid })
}

/// A figure of a member's `mntr`.
pub(crate) fn figure(member: &Server, key: &str) -> Option<u64> {
    let text = member.ask("mntr")?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t')?.parse().ok())
}

/// Polls until the condition holds. Panics after a minute.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited a minute for this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn launch(folder: &Path, id: u32, site: &Site, servers: &str) -> Server {
    let data_dir = folder.join(format!("{id}/data"));
    std::fs::create_dir_all(&data_dir).expect("a folder for the member");
    std::fs::write(data_dir.join("myid"), format!("{id}\n")).expect("myid is written");
    let file = configuration_file(folder, id);
    let text = format!(
        "tickTime=1000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nreconfigEnabled=true\ndataDir={}\n{servers}\n",
        data_dir.display()
    );
    std::fs::write(&file, text).expect("zoo.cfg is written");
    let extra = vec!["--config".to_owned(), file.display().to_string()];
    let through: Vec<&str> = site.through.iter().map(String::as_str).collect();
    Server::launch(&data_dir, (&site.host, site.ports[0]), extra, &through)
}

fn configuration_file(folder: &Path, id: u32) -> std::path::PathBuf {
    folder.join(format!("{id}/zoo.cfg"))
}

fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}
