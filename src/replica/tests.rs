//! Three members in one runtime, on disks and a network in memory. The clock moves only when no task can run. Clients
//! use any of the members; links are cut, sessions move, leaders hand over.

use super::*;
use crate::limits;
use crate::model::ensemble::{Incarnation, Server};
use crate::peer::messages::greeting::{Empty, Greeting};
use crate::peer::testing::MemoryNet;
use crate::peer::{ConnectError, HelloRefusal, LocalMember, Peers, Purpose};
use crate::plugin::Compiler;
use crate::session::tests::{Client, create, hello};
use crate::session::{Serving, Workers};
use crate::storage::testing::SimDisk;
use crate::wire::request::{ConnectRequest, Request, create_mode};
use std::net::SocketAddr;
use std::time::Duration;

mod far_behind;
mod soundness;

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Ensemble {
    net: MemoryNet,
    members: Vec<Arc<Member>>,
    _folder: tempfile::TempDir,
}

impl Ensemble {
    async fn start(change: impl Fn(&mut Config)) -> Ensemble {
        Ensemble::start_at_level(limits::FORMAT_LEVEL, change).await
    }

    async fn start_at_level(format_level: u32, change: impl Fn(&mut Config)) -> Ensemble {
        let net = MemoryNet::new();
        let folder = tempfile::tempdir().unwrap();
        let mut members = Vec::new();
        for (index, name) in NAMES.iter().enumerate() {
            let mut config = config(&net, folder.path(), index);
            change(&mut config);
            members.push(Arc::new(start(config, net.host(name), &SimDisk::new(), format_level).await.unwrap()));
        }
        let ensemble = Ensemble { net, members, _folder: folder };
        for member in &ensemble.members {
            until(|| member.serving() == Serving::Everybody).await;
        }
        ensemble
    }

    fn leader(&self) -> usize {
        let leads = |member: &Arc<Member>| member.replica.order.leadership.leads();
        self.members.iter().position(leads).expect("a member leads")
    }

    /// The two members that do not lead.
    fn followers(&self) -> (usize, usize) {
        let leader = self.leader();
        ((leader + 1) % 3, (leader + 2) % 3)
    }

    fn dial(&self, member: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let member = self.members[member].clone();
        tokio::spawn(async move { member.serve(theirs, SocketAddr::from(([127, 0, 0, 1], 4000))).await });
        Client::on(ours)
    }

    async fn client(&self, member: usize) -> Client {
        let mut client = self.dial(member);
        client.open(0).await;
        client
    }

    fn cut_off(&self, member: usize) {
        NAMES.iter().filter(|name| **name != NAMES[member]).for_each(|name| self.net.cut(NAMES[member], name));
    }

    fn heal(&self, member: usize) {
        NAMES.iter().filter(|name| **name != NAMES[member]).for_each(|name| self.net.heal(NAMES[member], name));
    }
}

/// The configuration of one member of three.
fn config(net: &MemoryNet, folder: &std::path::Path, index: usize) -> Config {
    let mut config = Config { server_id: index as u32 + 1, plugins: false, ..Config::default() };
    config.storage.data_dir = folder.to_path_buf();
    config.ensemble.servers =
        (1..).zip(NAMES).map(|(id, name)| Server::parse(id, &format!("{name}:2888:3888")).unwrap()).collect();
    config.ensemble.listen = vec![SocketAddr::new(net.address(NAMES[index]), 2888)];
    config
}

pub(super) async fn start(
    config: Config,
    net: Arc<dyn crate::peer::Net>,
    disk: &SimDisk,
    format_level: u32,
) -> anyhow::Result<Member> {
    let disk: Arc<SimDisk> = Arc::new(disk.clone());
    let platform = Platform {
        disk: disk.clone(),
        log_disk: disk,
        net,
        secret: None,
        raft: Handle::current(),
        clients: Workers::on(Handle::current()),
        execution: Execution::Tasks {
            disk_delay: Arc::new(|| Duration::from_millis(1)),
            proposal_faults: Arc::new(ProposalFault::default),
            compiler: Compiler::here(),
        },
        format_level,
    };
    let listening = Listening { client_port: None, secure_client_port: None, tls: None };
    Member::start(config, platform, |replica| MemberFacts::new(replica, listening)).await
}

impl Member {
    fn serving(&self) -> Serving {
        self.replica.ensemble.lease.serving()
    }
}

async fn until(reached: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the condition holds within a minute");
}

fn ephemeral(path: &str) -> Request {
    let Request::Create(mut asked) = create(path) else { unreachable!("it is a create") };
    asked.flags = create_mode::EPHEMERAL;
    Request::Create(asked)
}

fn exists(path: &str) -> Request {
    Request::Exists { path: Some(path.into()), watch: false }
}

fn sync() -> Request {
    Request::Sync { path: Some("/".into()) }
}

#[tokio::test(start_paused = true)]
async fn any_member_takes_writes_and_a_sync_shows_them_on_another() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (here, there) = ensemble.followers();
    let mut writer = ensemble.client(here).await;
    let mut reader = ensemble.client(there).await;
    for xid in 1..=50 {
        writer.ask(xid, create(&format!("/n{xid}"))).await;
    }
    writer.ask(51, exists("/n50")).await;
    for xid in 1..=51 {
        assert_eq!(writer.next().await, (xid, 0), "replies come in order, and a read sees the writes before it");
    }
    reader.ask(1, sync()).await;
    reader.ask(2, exists("/n50")).await;
    assert_eq!((reader.next().await, reader.next().await), ((1, 0), (2, 0)));
    writer.ask(52, create("/n1")).await;
    assert_eq!(writer.next().await, (52, -110), "a refusal comes back in the same way");
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_and_its_old_connection_is_closed() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (here, there) = ensemble.followers();
    let mut before = ensemble.client(here).await;
    before.ask(1, ephemeral("/mine")).await;
    assert_eq!(before.next().await, (1, 0));
    let mut after = ensemble.dial(there);
    let response = after.connect(before.back()).await.expect("the session lives");
    assert_eq!(response.session_id, before.session.0);
    before.closed().await;
    after.ask(1, exists("/mine")).await;
    assert_eq!(after.next().await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broken_link_closes_only_connections_with_a_write_under_way() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (here, _) = ensemble.followers();
    let (leader, name) = (NAMES[ensemble.leader()], NAMES[here]);
    let mut busy = ensemble.client(here).await;
    let mut idle = ensemble.client(here).await;
    ensemble.net.cut(leader, name);
    busy.ask(1, create("/unknown")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    ensemble.net.reset(leader, name);
    ensemble.net.heal(leader, name);
    busy.closed().await;
    idle.ask(1, create("/known")).await;
    assert_eq!(idle.next().await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_member_cut_off_sends_its_clients_away_until_it_has_caught_up() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (here, there) = ensemble.followers();
    let mut lost = ensemble.client(here).await;
    let mut other = ensemble.client(there).await;
    ensemble.cut_off(here);
    lost.closed().await;
    assert!(ensemble.dial(here).connect(hello()).await.is_none(), "no client is let in");
    other.create("/meanwhile").await;
    ensemble.heal(here);
    until(|| ensemble.members[here].serving() == Serving::Everybody).await;
    let mut back = ensemble.client(here).await;
    back.ask(1, exists("/meanwhile")).await;
    assert_eq!(back.next().await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_session_of_a_client_that_only_reads_on_a_follower_lives_on() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (here, there) = ensemble.followers();
    let mut quiet = ensemble.client(here).await;
    let mut gone = ensemble.client(there).await;
    gone.ask(1, ephemeral("/gone")).await;
    assert_eq!(gone.next().await, (1, 0));
    drop(gone);
    for xid in 1..=20 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        quiet.ask(xid, exists("/zookeeper")).await;
        assert_eq!(quiet.next().await, (xid, 0));
    }
    quiet.ask(21, ephemeral("/quiet")).await;
    quiet.ask(22, exists("/gone")).await;
    assert_eq!(quiet.next().await, (21, 0), "the leader has heard of this session all the time");
    assert_eq!(quiet.next().await, (22, -101), "and not of the other one");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_hands_over_and_sessions_live_on() {
    let ensemble = Ensemble::start(|_| {}).await;
    let first = ensemble.leader();
    let (here, _) = ensemble.followers();
    let mut client = ensemble.client(here).await;
    client.create("/before").await;
    ensemble.members[first].part_with_clients().await;
    until(|| ensemble.members.iter().any(|member| member.replica.order.leadership.leads())).await;
    assert_ne!(ensemble.leader(), first);
    client.ask(2, create("/after")).await;
    assert_eq!(client.next().await, (2, 0), "a connection with nothing under way goes on");
}

/// Clients of every member write all the time. The leader ends. Its clients' connections are closed once all requests
/// on them are answered; the clients of the other members go on.
#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_answers_what_is_under_way_on_every_member() {
    let ensemble = Ensemble::start(|_| {}).await;
    let first = ensemble.leader();
    let mut writers = Vec::new();
    for member in 0..3 {
        for number in 0..3 {
            let mut client = ensemble.client(member).await;
            writers.push(tokio::spawn(async move {
                for xid in 1..=500 {
                    match client.attempt(xid, create(&format!("/{member}-{number}-{xid}"))).await {
                        Some(answer) => assert_eq!(answer, (xid, 0)),
                        // The server took no more requests, so this one was lost. Only clients of the leader may see
                        // that.
                        None if member == first => return xid,
                        None => panic!("a client of member {member} is closed with its request {xid} under way"),
                    }
                }
                501
            }));
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensemble.members[first].part_with_clients().await;
    assert_eq!(ensemble.members[first].replica.order.connections.count(), 0);
    let replica = &ensemble.members[(first + 1) % 3].replica;
    for (at, writer) in writers.into_iter().enumerate() {
        let (member, number, upto) = (at / 3, at % 3, writer.await.unwrap());
        assert!(upto > 1 && (upto > 500) == (member != first), "a client of member {member} came to request {upto}");
        let is_there = |xid: i32| replica.order.state.read().node(&format!("/{member}-{number}-{xid}")).is_some();
        until(|| is_there(upto - 1)).await;
        assert!(!is_there(upto), "a request without an answer has no effect");
    }
}

/// An upgrade, one member after the other. The format level rises once all voters run the new release. From then on a
/// member of the old release is not let in, and does not start.
#[tokio::test(start_paused = true)]
async fn the_format_level_rises_with_the_last_upgrade_and_shuts_the_old_release_out() {
    const OLD: u32 = limits::FORMAT_LEVEL;
    const NEW: u32 = OLD + 1;
    /// The level of a new ensemble. No transaction needs the level of the old release.
    const FOUNDED: u32 = 1;
    let (net, folder) = (MemoryNet::new(), tempfile::tempdir().unwrap());
    let disks: Vec<SimDisk> = NAMES.iter().map(|_| SimDisk::new()).collect();
    let run =
        async |at: usize, level| start(config(&net, folder.path(), at), net.host(NAMES[at]), &disks[at], level).await;
    let mut members: Vec<Member> = Vec::new();
    for at in 0..NAMES.len() {
        members.push(run(at, OLD).await.unwrap());
    }
    let all_serve = |members: &[Member]| members.iter().all(|member| member.serving() == Serving::Everybody);
    let at_level =
        |members: &[Member], level| members.iter().all(|member| member.replica.order.format_level() == level);
    until(|| all_serve(&members)).await;
    for at in 0..NAMES.len() {
        assert!(at_level(&members, FOUNDED), "member {} runs the old release", at + 1);
        let old = members.remove(at);
        old.part_with_clients().await;
        old.stop().await.unwrap();
        members.insert(at, run(at, NEW).await.unwrap());
        until(|| all_serve(&members)).await;
        // By now every member has reported.
        tokio::time::sleep(3 * limits::GATHER_INTERVAL).await;
    }
    until(|| at_level(&members, NEW)).await;

    let to = members.iter().position(|member| member.replica.order.leadership.leads()).unwrap();
    let away = (to + 1) % NAMES.len();
    let me = members[away].replica.ensemble.known_members.me().clone();
    let old = LocalMember::new(me.id, me.incarnation, OLD, me.cluster());
    let server = config(&net, folder.path(), to).own_server().unwrap().clone();
    let refused = Peers::new(net.host(NAMES[away]), old).connect(&server, None, Purpose::Appends).await;
    let Err(ConnectError::Rejected(refusal)) = refused else { panic!("it is let in") };
    assert_eq!(refusal, HelloRefusal::TooOld { id: me.id, format_level: OLD, needed: NEW });

    let stopped = members.remove(away);
    stopped.part_with_clients().await;
    stopped.stop().await.unwrap();
    let error = run(away, OLD).await.err().expect("an old release does not start on a new state").to_string();
    assert!(error.contains(&format!("format level {NEW} and this release knows {OLD} only")), "{error}");
    run(away, NEW).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn read_only_mode() {
    let ensemble = Ensemble::start(|config| config.read_only_mode = true).await;
    let (here, there) = ensemble.followers();
    let mut owner = ensemble.client(here).await;
    owner.create("/known").await;
    ensemble.cut_off(here);
    owner.closed().await;
    until(|| ensemble.members[here].serving() == Serving::ReadOnly).await;
    assert!(ensemble.dial(here).connect(hello()).await.is_none(), "only clients that accept reading alone are let in");

    let mut again = ensemble.dial(here);
    let response = again.connect(ConnectRequest { read_only: Some(true), ..owner.back() }).await.unwrap();
    assert_eq!((response.session_id, response.read_only), (owner.session.0, Some(true)));
    again.ask(1, exists("/known")).await;
    again.ask(2, create("/new")).await;
    again.ask(3, sync()).await;
    assert_eq!([again.next().await, again.next().await, again.next().await], [(1, 0), (2, -119), (3, -119)]);
    let mut new = ensemble.dial(here);
    let response = new.connect(ConnectRequest { read_only: Some(true), ..hello() }).await.unwrap();
    assert!(response.session_id != 0 && response.read_only == Some(true));

    ensemble.heal(here);
    again.closed().await;
    new.closed().await;
    let mut whole = ensemble.dial(there);
    let response = whole.connect(ConnectRequest { read_only: Some(true), ..hello() }).await.unwrap();
    assert_eq!(response.read_only, Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_local_session_becomes_global_with_its_first_ephemeral_node() {
    let ensemble = Ensemble::start(|config| {
        config.sessions.local = true;
        config.sessions.local_upgrade = true;
    })
    .await;
    let (here, there) = ensemble.followers();
    let sessions = |member: usize| ensemble.members[member].replica.order.state.read().session_count();
    let mut client = ensemble.client(here).await;
    client.create("/kept").await;
    assert_eq!((sessions(here), ensemble.members[here].replica.order.connections.local_sessions().count()), (0, 1));
    let stranger = ensemble.dial(there).connect(client.back()).await.unwrap();
    assert_eq!(stranger.session_id, 0, "no other member knows a local session");
    client.ask(2, ephemeral("/mine")).await;
    client.ask(3, exists("/mine")).await;
    assert_eq!([client.next().await, client.next().await], [(2, 0), (3, 0)]);
    assert_eq!((sessions(here), ensemble.members[here].replica.order.connections.local_sessions().count()), (1, 0));
    let mut moved = ensemble.dial(there);
    assert_eq!(moved.connect(client.back()).await.unwrap().session_id, client.session.0);
    client.closed().await;
}

#[tokio::test(start_paused = true)]
async fn local_sessions_own_no_ephemeral_nodes() {
    let ensemble = Ensemble::start(|config| config.sessions.local = true).await;
    let mut client = ensemble.client(0).await;
    client.ask(1, create("/a")).await;
    client.ask(2, ephemeral("/b")).await;
    client.ask(3, Request::CloseSession).await;
    assert_eq!([client.next().await, client.next().await, client.next().await], [(1, 0), (2, -120), (3, 0)]);
    client.closed().await;
    assert_eq!(ensemble.members[0].replica.order.connections.local_sessions().count(), 0);
    let mut silent = ensemble.client(0).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    silent.closed().await;
}

/// A stranger claims to be a member, and greets everybody with a roster of the highest position, in which all
/// incarnations are wrong, and with reports that all members have diverged. Members that believed it would refuse each
/// other for ever.
#[tokio::test(start_paused = true)]
async fn what_a_stranger_tells_changes_nothing() {
    let ensemble = Ensemble::start(|_| {}).await;
    let (leader, (follower, other)) = (ensemble.leader(), ensemble.followers());
    let known = |at: usize| ensemble.members[at].replica.ensemble.known_members.clone();
    let folder = tempfile::tempdir().unwrap();
    for at in [leader, follower, other] {
        let claimed = known((at + 1) % 3).me().clone();
        let stranger = LocalMember::new(claimed.id, claimed.incarnation, claimed.format_level, claimed.cluster());
        let server = config(&ensemble.net, folder.path(), at).own_server().unwrap().clone();
        let strangers = Peers::new(ensemble.net.host("stranger"), stranger);
        let mut connection = strangers.connect(&server, None, Purpose::Greeting).await.unwrap();
        let empty =
            Empty { incarnation: claimed.incarnation, configured: Vec::new(), format_level: limits::FORMAT_LEVEL };
        connection.writer.send(&Greeting::Empty(empty)).await.unwrap();
        let answer: Greeting = connection.reader.next().await.unwrap().unwrap();
        let Greeting::Initialised(mut told) = answer else { panic!("it has a log: {answer:?}") };
        told.roster.at = Some((u64::MAX, u64::MAX));
        told.roster.members.iter_mut().for_each(|member| member.incarnation = Incarnation::default());
        told.report.diverged = true;
        told.gathered = (1..10_000).map(|id| (id, told.report)).collect();
        connection.writer.send(&Greeting::Initialised(told)).await.unwrap();
        assert!(connection.reader.next::<Greeting>().await.unwrap().is_some(), "it is answered all the same");
    }
    let strange = (1..10_000).filter(|id| !(1..=3).contains(id));
    for at in [leader, follower, other] {
        assert_eq!(strange.clone().filter(|id| known(at).report_of(*id).is_some()).count(), 0);
    }
    let doubted = |id: &u32| known(leader).report_of(*id).is_some_and(|(_, report)| report.diverged);
    assert!(!(1..=3).any(|id| doubted(&id)), "a leader believes only what it has asked for");

    // All links are made anew, and their hellos are judged by the rosters.
    for at in [leader, follower, other] {
        ensemble.cut_off(at);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for at in [leader, follower, other] {
        ensemble.heal(at);
    }
    for member in &ensemble.members {
        until(|| member.serving() == Serving::Everybody).await;
    }
    for at in 0..3 {
        ensemble.client(at).await.create(&format!("/by{at}")).await;
    }
}

/// A greeting that is too long ends its connection. So does a long silence.
#[tokio::test(start_paused = true)]
async fn greetings_are_small_and_do_not_keep_silent() {
    let ensemble = Ensemble::start(|_| {}).await;
    let folder = tempfile::tempdir().unwrap();
    let server = config(&ensemble.net, folder.path(), 0).own_server().unwrap().clone();
    let me = ensemble.members[1].replica.ensemble.known_members.me().clone();
    let strangers = Peers::new(ensemble.net.host("stranger"), me.clone());
    let mut silent = strangers.connect(&server, None, Purpose::Greeting).await.unwrap();
    assert!(tokio::time::timeout(2 * limits::GREETING_SILENCE_MAX, silent.reader.next::<Greeting>()).await.is_ok());
    let mut long = strangers.connect(&server, None, Purpose::Greeting).await.unwrap();
    let configured = vec![Server::default(); limits::GREETING_BYTES_MAX];
    let empty = Empty { incarnation: me.incarnation, configured, format_level: limits::FORMAT_LEVEL };
    assert!(long.writer.send(&Greeting::Empty(empty)).await.is_err(), "a member makes no such greeting either");
}
