//! Writes: ZooKeeper's errors and their order, the traps of its protocol, and what the view must show before anything is
//! applied.

use super::*;
use crate::limits;
use crate::model::Refusal;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[track_caller]
fn play(script: &str) {
    World::new(rules()).play(script);
}

#[test]
fn creations_and_their_errors() {
    play(
        "open 1
         1 create /a                        => /a
         1 create /a                        => NODEEXISTS
         1 create /                         => NODEEXISTS
         1 create /x/y                      => NONODE
         1 create null                      => MARSHALLINGERROR
         1 create empty                     => BADARGUMENTS
         1 create a                         => BADARGUMENTS
         1 create b/a                       => NONODE
         1 create zookeeper/a               => NONODE
         1 create /a/                       => BADARGUMENTS
         1 create /x/                       => NONODE
         1 create //                        => BADARGUMENTS
         1 create /a/../b                   => NONODE
         1 create /..                       => BADARGUMENTS
         1 create /a\\0                     => BADARGUMENTS
         1 create /b flags=7                => BADARGUMENTS
         1 create null flags=7              => BADARGUMENTS
         1 create /b acl=empty              => INVALIDACL
         1 create /b acl=null               => INVALIDACL
         # The list is judged before the parent is looked up, and the path's last checks come after it.
         1 create /x/y acl=empty            => INVALIDACL
         1 create /a/ acl=1:auth:           => INVALIDACL
         1 create /e flags=1                => /e
         1 create /e/c                      => NOCHILDRENFOREPHEMERALS
         1 ping                             => UNIMPLEMENTED
         1 check /a                         => UNIMPLEMENTED",
    );
}

#[test]
fn sequence_numbers_count_creations_only() {
    play(
        "open 1
         1 create /q                        => /q
         1 create /q/a- flags=2             => /q/a-0000000000
         1 create /q/plain                  => /q/plain
         1 create /q/b- flags=3             => /q/b-0000000002
         1 delete /q/plain
         1 create /q/a- flags=2             => /q/a-0000000003
         # The number alone is a good name.
         1 create /q/ flags=2               => /q/0000000004
         stat /q                            => v=0 cv=5 n=4 len=0
         apply
         1 create /q/a- flags=2             => /q/a-0000000005
         1 create /q/a-0000000006           => /q/a-0000000006
         1 create /q/a-0000000008           => /q/a-0000000008
         1 create /q/a- flags=2             => NODEEXISTS",
    );
}

#[test]
fn sequence_numbers_wrap_as_in_java() {
    let mut world = World::new(rules());
    world.play("open 1 \n 1 create /q => /q \n apply");
    let wind = |world: &mut World, parent_cversion| {
        let path = format!("/q/x{parent_cversion}");
        let change = Change::Create {
            path: path.into(),
            data: None,
            acl: crate::model::acl::open_unsafe(),
            owner: crate::model::Owner::PERSISTENT,
            parent_cversion,
        };
        let zxid = world.state.last_zxid().next();
        let txn = Txn {
            zxid,
            wall_ms: world.state.wall_ms(),
            ensemble_ms: world.state.ensemble_ms(),
            origin: None,
            outcome: Outcome::Done(vec![Slot::Change(0)]),
            changes: vec![change],
            made_by: Vec::new(),
        };
        world.state.apply(&txn, &mut Effects::default());
        world.evaluator.start_chain(&world.state, false);
    };
    wind(&mut world, i32::MAX);
    world.play(
        "1 create /q/n- flags=2            => /q/n-2147483647
         1 create /q/n- flags=2            => /q/n--2147483648
         apply
         1 create /q/n- flags=2            => /q/n--2147483647",
    );
}

#[test]
fn containers_and_times_to_live_come_by_opcode() {
    play(
        "open 1
         1 create /c flags=4 form=container => /c container
         1 create /d flags=0 form=container => /d container
         1 create /p flags=4                => /p
         1 create /p2 flags=4 form=create2  => /p2
         1 create /t flags=5 form=ttl ttl=9 => /t ttl 9
         1 create /t flags=6 form=ttl ttl=9 => /t0000000005 ttl 9
         1 create /t1 flags=5               => BADARGUMENTS
         1 create /t1 flags=5 form=ttl ttl=0 => BADARGUMENTS
         1 create /t1 flags=5 form=ttl ttl=-1 => BADARGUMENTS
         1 create /t1 flags=5 form=ttl ttl=1099511627776 => BADARGUMENTS
         1 create /t1 flags=5 form=ttl ttl=1099511627775 => /t1 ttl 1099511627775
         1 create /t2 flags=0 form=ttl ttl=9 => BADARGUMENTS
         # This one kills ZooKeeper.
         1 create /t2 flags=0 form=ttl ttl=-1 => BADARGUMENTS
         1 create /c/child                  => /c/child
         1 create /t/child                  => /t/child",
    );
    let mut off = World::new(Rules { extended_types: false, ..rules() });
    off.play(
        "open 1
         1 create /t flags=5 form=ttl ttl=9 => UNIMPLEMENTED
         1 create null flags=5              => UNIMPLEMENTED
         1 create /t flags=0 form=ttl ttl=9 => BADARGUMENTS",
    );
}

#[test]
fn deletions_and_their_errors() {
    play(
        "open 1
         1 create /a                        => /a
         1 create /a/b                      => /a/b
         1 delete /a                        => NOTEMPTY
         1 delete /a 1                      => BADVERSION
         1 delete /a/b 1                    => BADVERSION
         1 delete /a/b 0
         1 delete /a/b                      => NONODE
         1 delete /x/y                      => NONODE
         1 delete null                      => MARSHALLINGERROR
         1 delete empty                     => BADARGUMENTS
         1 delete a                         => BADARGUMENTS
         1 delete /                         => BADARGUMENTS
         1 delete /zookeeper                => BADARGUMENTS
         1 delete /zookeeper/quota          => BADARGUMENTS
         1 delete /zookeeper/config         => BADARGUMENTS
         1 delete /a/                       => NONODE
         1 delete //a                       => NONODE
         1 delete /a
         apply
         stat /                             => v=0 cv=1 n=1 len=0",
    );
}

#[test]
fn data_and_versions() {
    play(
        "open 1
         1 create /a data=12                => /a
         1 set /a 345                       => v1
         1 set /a 6 1                       => v2
         1 set /a 6 1                       => BADVERSION
         apply 3
         1 set /a null 2                    => v3
         stat /a                            => v=3 cv=0 n=0 len=0
         1 set /b x                         => NONODE
         1 set null x                       => BADARGUMENTS
         1 set empty x                      => BADARGUMENTS
         1 set /a/ x                        => BADARGUMENTS
         1 set / x                          => v1
         apply
         stat /a                            => v=3 cv=0 n=0 len=0",
    );
}

#[test]
fn lists_are_enforced_on_the_view() {
    play(
        "open 1
         open 2
         auth 1 digest:a:h
         1 create /a acl=31:auth:           => /a
         2 set /a x                         => NOAUTH
         2 create /a/b                      => NOAUTH
         # The parent's list goes before the path's last checks, the node's existence and the version.
         2 create /a/                       => NOAUTH
         2 delete /a/x                      => NOAUTH
         2 set /a x 99                      => NOAUTH
         2 acl /a 31:world:anyone           => NOAUTH
         2 acl /a empty                     => INVALIDACL
         1 set /a x 99                      => BADVERSION
         1 create /a/b                      => /a/b
         # A list speaks of one node only.
         2 set /a/b x                       => v1
         2 delete /a/b                      => NOAUTH
         1 acl /a 12:world:anyone 1         => BADVERSION
         1 acl /a 12:world:anyone,16:digest:a:h 0 => a1
         2 delete /a/b
         2 set /a x                         => NOAUTH
         apply
         2 create /a/c                      => /a/c
         auth 2 super:
         2 set /a x                         => v1
         1 acl null 1:world:anyone          => BADARGUMENTS
         1 acl /nowhere empty               => INVALIDACL
         1 acl /nowhere 1:world:anyone      => NONODE",
    );
}

#[test]
fn multi_is_all_or_nothing() {
    play(
        "open 1
         1 create /q                        => /q
         1 multi create /q/a ; set /q/a x 0 ; check /q/a 1 ; delete /q/a 1 => /q/a ; v1 ; ok ; ok
         1 multi create /q/n- flags=2 ; create /q/n- flags=2 ; check /none => NONODE at 2 of 3
         # Nothing of it stays: neither nodes nor sequence numbers.
         1 create /q/n- flags=2             => /q/n-0000000001
         1 multi create /q/b ; create /q/b  => NODEEXISTS at 1 of 2
         1 multi delete /q ; create /r      => NOTEMPTY at 0 of 2
         stat /q                            => v=0 cv=2 n=1 len=0
         stat /r                            => none
         apply
         1 multi check /q 0 ; check /q 1    => BADVERSION at 1 of 2
         1 multi check /q                   => ok
         1 multi                            => done
         1 multi set /q 1 ; set /q 2 ; set /q 3 1 => BADVERSION at 2 of 3
         1 multi set /q 1 ; set /q 2 ; set /q 3 2 => v1 ; v2 ; v3
         # A null path, flags that do not exist and operations of another kind spoil all of it.
         1 multi create /z ; delete null    => MARSHALLINGERROR
         1 multi create /z flags=9          => MARSHALLINGERROR
         1 multi create /z acl=null         => MARSHALLINGERROR
         1 multi create /z acl=empty        => INVALIDACL at 0 of 1
         1 multi create /z acl=null form=ttl ttl=9 flags=5 => INVALIDACL at 0 of 1
         1 multi create /z flags=5          => MARSHALLINGERROR
         1 multi create /z ; acl /z 31:world:anyone => MARSHALLINGERROR
         1 multi create /z ; set empty x    => BADARGUMENTS at 1 of 2
         1 multi create /z ; create /y flags=9 form=ttl => BADARGUMENTS at 1 of 2
         stat /z                            => none
         # Here the flags decide what a create is.
         1 multi create /c flags=4 ; create /t flags=5 form=ttl ttl=7 ; create /p form=ttl => /c container ; /t ttl 7 ; /p
         1 multi delete /q/n-0000000001 ; delete /q ; create /q data=new => ok ; ok ; /q
         stat /q                            => v=0 cv=0 n=0 len=3
         apply
         stat /q                            => v=0 cv=0 n=0 len=3",
    );
}

#[test]
fn the_form_of_a_multis_results() {
    for (text, expected) in [
        ("create /a", op::CREATE),
        ("create /a form=create2", op::CREATE2),
        ("create /a flags=4", op::CREATE_CONTAINER),
        ("create /a form=container", op::CREATE_CONTAINER),
        ("create /a flags=5 form=ttl ttl=1", op::CREATE_TTL),
        ("create /a flags=0 form=ttl", op::CREATE),
        ("create /a flags=4 form=ttl", op::CREATE_CONTAINER),
        ("create /a form=maybe", op::CREATE_IF_NOT_EXISTS),
        ("delete /a", op::DELETE),
    ] {
        assert_eq!(evaluate::effective_op(&operation(text)), expected, "{text}");
    }
}

#[test]
fn extensions_of_clickhouse() {
    play(
        "open 1
         1 create /a form=maybe             => /a
         1 create /a form=maybe             => at /a
         1 create /x/a form=maybe           => NONODE
         1 absent /b
         1 absent /a                        => NODEEXISTS
         1 absent /a 5
         1 absent /a 0                      => NODEEXISTS
         1 multi absent /b ; create /b ; create /b form=maybe ; set /b x => ok ; /b ; at /b ; v1
         1 multi create /c ; absent /b      => NODEEXISTS at 1 of 2
         stat /c                            => none",
    );
}

#[test]
fn the_end_of_a_session_takes_its_outstanding_nodes() {
    play(
        "open 1
         open 2
         1 create /p                        => /p
         1 create /p/old flags=1            => /p/old
         1 create /p/gone flags=1           => /p/gone
         apply
         1 delete /p/gone
         1 create /p/new flags=3            => /p/new0000000002
         2 create /p/mine flags=1           => /p/mine
         close 1
         stat /p                            => v=0 cv=4 n=1 len=0
         stat /p/new0000000002              => none
         stat /p/old                        => none
         # Gone for good, although nothing of it is applied.
         1 create /late flags=1             => SESSIONEXPIRED
         1 set /p x                         => SESSIONEXPIRED
         close 1                            => SESSIONEXPIRED
         expire 1                           => nothing
         attach 1                           => SESSIONEXPIRED
         2 delete /p                        => NOTEMPTY
         expire 2
         apply
         stat /p                            => v=0 cv=4 n=0 len=0
         expire 2                           => nothing",
    );
}

#[test]
fn only_the_owner_of_a_session_writes() {
    play(
        "open 1
         attach 1
         1 create /a                        => /a
         stale 1
         1 create /b                        => close
         1 multi create /b                  => close
         1 create null                      => close
         close 1                            => close
         stale 1
         1 create /b                        => /b
         apply
         attach 1 wrong                     => SESSIONEXPIRED
         1 create /c                        => close
         stale 1
         1 create /c                        => /c
         attach 1
         apply
         1 create /d                        => /d
         close 1",
    );
}

#[test]
fn a_broken_chain_leaves_nothing() {
    play(
        "open 1
         1 create /a                        => /a
         apply
         1 create /a/x flags=3              => /a/x0000000000
         1 delete /a                        => NOTEMPTY
         1 set /a data                      => v1
         drop
         stat /a                            => v=0 cv=0 n=0 len=0
         1 create /a/x flags=3              => /a/x0000000000
         apply
         close 1
         apply
         stat /a                            => v=0 cv=1 n=0 len=0",
    );
}

#[test]
fn collection_looks_again() {
    let mut world = World::new(Rules { container_never_used_ms: 100, ..rules() });
    world.play(
        "open 1
         1 create /c flags=4 form=container => /c container
         1 create /t flags=5 form=ttl ttl=50 => /t ttl 50
         1 create /p                        => /p
         1 create /e flags=1                => /e
         collect /c                         => nothing
         1 create /c/x                      => /c/x
         collect /c                         => nothing
         1 delete /c/x
         collect /c
         collect /c                         => nothing
         tick 50
         collect /t                         => nothing
         tick 1
         1 set /t again                     => v1
         collect /t                         => nothing
         tick 51
         1 create /t/x                      => /t/x
         collect /t                         => nothing
         1 delete /t/x
         collect /t
         1 create /c flags=4 form=container => /c container
         tick 100
         collect /c                         => nothing
         tick 1
         collect /c
         collect /p                         => nothing
         collect /e                         => nothing
         collect /                          => nothing
         collect /none                      => nothing
         apply",
    );
}

#[test]
fn delete_container_is_the_superusers() {
    play(
        "open 1
         1 create /c flags=4 form=container => /c container
         1 create /c/x                      => /c/x
         1 create /e flags=1                => /e
         1 reap /c/x                        => NOAUTH
         auth 1 super:
         1 reap /c                          => NOTEMPTY
         1 reap /e                          => BADVERSION
         1 reap /none                       => NONODE
         1 reap /                           => BADARGUMENTS
         1 reap null                        => MARSHALLINGERROR
         1 reap /c/x
         1 reap /c",
    );
}

#[test]
fn reconfig_of_a_server_that_stands_alone() {
    play("open 1 \n 1 reconfig => RECONFIGDISABLED");
    World::new(Rules { reconfig: true, ..rules() }).play("open 1 \n 1 reconfig => UNIMPLEMENTED");
}

/// An ensemble of three, whose configuration is the transaction with zxid 2.
fn ensemble() -> World {
    let mut world = World::new(Rules { reconfig: true, ..rules() });
    world.play(
        "open 1
         configure server.1=a:1:2;9,server.2=b:1:2;9,server.3=c:1:2;9        => v-1
         data /zookeeper/config  => server.1=a:1:2:participant;0.0.0.0:9,server.2=b:1:2:participant;0.0.0.0:9,\
server.3=c:1:2:participant;0.0.0.0:9,version=2",
    );
    world
}

/// What ZooKeeper 3.9.5 answered, in three servers that were asked the same.
#[test]
fn reconfig_errors_and_their_order() {
    let mut world = ensemble();
    world.play(
        "1 reconfig                                                 => NOAUTH
         1 reconfig leave=x                                         => MARSHALLINGERROR
         1 reconfig leave=77                                        => NOAUTH
         1 reconfig leave=2                                         => NOAUTH
         1 reconfig leave=2,3                                       => BADARGUMENTS
         1 reconfig leave=1,2,3                                     => BADARGUMENTS
         1 reconfig join=some                                       => BADARGUMENTS
         1 reconfig join=server.4=d:1:2                             => BADARGUMENTS
         1 reconfig join=server.4=d:1:2;3                           => NOAUTH
         1 reconfig join=server.x=d:1:2;3                           => MARSHALLINGERROR
         1 reconfig join=server.4=d:1:2:king;3                      => BADARGUMENTS
         1 reconfig join=server.4=d:1=2;3                           => BADARGUMENTS
         1 reconfig join=server.999=d:1:2:observer;3                => NOAUTH
         1 reconfig all=abc                                         => BADARGUMENTS
         1 reconfig all=                                            => BADARGUMENTS
         1 reconfig all=group.1=1:2                                 => BADARGUMENTS
         1 reconfig all=server.1=a:1:2,server.2=b:1:2               => NOAUTH
         1 reconfig join=x from=77                                  => BADVERSION
         1 reconfig join=x from=2                                   => BADARGUMENTS
         # Once they are through with that, our own.
         auth 1 super:
         1 reconfig join=server.999=d:1:2:observer;3                => BADARGUMENTS
         1 reconfig join=server.4=a:1:2;3                           => BADARGUMENTS
         reconfigures yes
         1 reconfig join=x from=77                                  => RECONFIGINPROGRESS",
    );
    World::new(Rules { reconfig: false, ..rules() }).play("open 1 \n 1 reconfig leave=x => RECONFIGDISABLED");
}

#[test]
fn reconfig_says_which_servers_there_shall_be() {
    ensemble().play(
        "auth 1 super:
         1 reconfig => 1=a:1:2:participant;0.0.0.0:9 2=b:1:2:participant;0.0.0.0:9 3=c:1:2:participant;0.0.0.0:9
         1 reconfig leave=2 from=2 => 1=a:1:2:participant;0.0.0.0:9 3=c:1:2:participant;0.0.0.0:9
         1 reconfig leave=1,2 join=server.7=d:1:2;5 => 3=c:1:2:participant;0.0.0.0:9 7=d:1:2:participant;0.0.0.0:5
         1 reconfig join=server.3=c:1:2:observer;9 => 1=a:1:2:participant;0.0.0.0:9 2=b:1:2:participant;0.0.0.0:9 \
3=c:1:2:observer;0.0.0.0:9
         1 reconfig all=server.2=b:1:2,server.5=e:5:6;7 => 2=b:1:2:participant 5=e:5:6:participant;0.0.0.0:7
         # A configuration that is still on its way counts.
         configure server.1=a:1:2,server.2=b:1:2 => v-1
         1 reconfig from=2 => BADVERSION
         1 reconfig from=3 => 1=a:1:2:participant 2=b:1:2:participant",
    );
}

#[test]
fn choosing_the_leader_is_the_superusers() {
    ensemble().play(
        "1 set /zookeeper/leader 2      => NOAUTH
         auth 1 super:
         1 set /zookeeper/leader 2      => to 2
         1 set /zookeeper/leader 1      => ok
         1 set /zookeeper/leader two    => BADARGUMENTS
         1 set /zookeeper/leader null   => BADARGUMENTS",
    );
}

/// Proves every scheme, and means nobody by any entry.
#[derive(Default)]
struct Nobody {
    asked: AtomicUsize,
    /// Of each answer.
    fuel: AtomicU64,
}

impl Schemes for Nobody {
    fn proves(&self, _: &str) -> bool {
        true
    }

    fn matches(&self, _: SessionId, fuel_max: u64, _: &str, _: &str, _: &str) -> Answered<bool> {
        self.asked(fuel_max, false)
    }

    fn known(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn check_id(&self, _: SessionId, fuel_max: u64, _: &str, _: &str) -> Option<Answered<()>> {
        Some(self.asked(fuel_max, ()))
    }
}

impl Nobody {
    fn asked<T>(&self, fuel_max: u64, answer: T) -> Answered<T> {
        if fuel_max == 0 {
            return Answered::unasked(Err(Refusal::new(ErrorCode::OperationTimeout, "nothing is left")));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        Answered { said: Ok(answer), fuel: self.fuel.load(Ordering::Relaxed) }
    }
}

/// A world in which client 1 has proven `x:me`, and so many entries of scheme `x` that none mean it.
fn among_strangers(entries: usize) -> (World, Arc<Nobody>, String) {
    let nobody = Arc::new(Nobody::default());
    let mut world = World::new(Rules { schemes: ProvenSchemes::new(nobody.clone()), ..rules() });
    world.play("open 1 \n auth 1 x:me");
    let strangers: Vec<String> = (0..entries).map(|at| format!("31:x:{at}")).collect();
    (world, nobody, strangers.join(","))
}

#[test]
fn a_multi_that_meets_a_long_list_often_looks_through_it_once() {
    let entries = limits::ACL_KEPT_ENTRIES_MIN;
    let (mut world, nobody, strangers) = among_strangers(entries);
    world.play(&format!(
        "1 create /a acl={strangers},2:world:anyone => /a
         1 create /b acl={strangers}        => /b"
    ));
    nobody.asked.store(0, Ordering::Relaxed);
    world.play("1 multi set /a 1 ; set /a 2 ; set /a 3 => v1 ; v2 ; v3");
    assert_eq!(nobody.asked.load(Ordering::Relaxed), entries);
    // What is kept is kept for that list, that permission and that transaction.
    world.play(
        "1 multi set /a 4 ; set /b 4        => NOAUTH at 1 of 2
         1 acl /a 31:world:anyone           => NOAUTH",
    );
    assert_eq!(nobody.asked.load(Ordering::Relaxed), 4 * entries);
}

#[test]
fn what_authenticators_say_of_a_write_is_at_its_expense() {
    let (mut world, nobody, strangers) = among_strangers(2);
    world.play(&format!(
        "1 create /a acl={strangers},1:world:anyone => /a
         1 create /b acl={strangers},31:world:anyone => /b"
    ));
    // Each answer uses half of what a transaction has: two may be asked, and then it is not known who is meant.
    nobody.fuel.store(limits::PLUGIN_TXN_FUEL / 2, Ordering::Relaxed);
    nobody.asked.store(0, Ordering::Relaxed);
    world.play(
        "1 set /a 1                         => NOAUTH
         1 multi set /b 1 ; set /a 1        => OPERATIONTIMEOUT at 1 of 2",
    );
    assert_eq!(nobody.asked.load(Ordering::Relaxed), 4);
    // Nobody is asked about the superuser.
    world.play("open 2 \n auth 2 x:me \n auth 2 super: \n 2 set /a 1 => v1");
    assert_eq!(nobody.asked.load(Ordering::Relaxed), 4);
    // Who is meant by another entry is let in all the same.
    world.play("1 multi set /b 1 ; set /b 2 => v1 ; v2");
    world.play(&format!(
        "1 create /c acl={strangers}        => /c
         1 create /d acl={strangers},31:x:3 => OPERATIONTIMEOUT"
    ));
    let Some(Txn { outcome: Outcome::Refused(refusal), .. }) = world.history.last() else { panic!("it is refused") };
    assert_eq!(refusal.text, "nothing is left");
}

#[test]
fn hard_quotas_count_what_is_outstanding() {
    let mut world = World::new(Rules { enforce_quota: true, ..rules() });
    world.play(
        "open 1
         1 create /a                        => /a
         1 create /zookeeper/quota/a        => /zookeeper/quota/a
         1 create /zookeeper/quota/a/zookeeper_limits data=count=-1,bytes=-1;countHardLimit=3;byteHardLimit=5 => /zookeeper/quota/a/zookeeper_limits
         1 create /zookeeper/quota/a/zookeeper_stats data=count=0,bytes=0 => /zookeeper/quota/a/zookeeper_stats
         apply
         1 create /a/1                      => /a/1
         1 create /a/2                      => /a/2
         1 create /a/3                      => QUOTAEXCEEDED
         1 multi delete /a/2 ; create /a/4 ; create /a/5 => QUOTAEXCEEDED at 2 of 3
         1 set /a/1 12345                   => v1
         1 set /a/2 1                       => QUOTAEXCEEDED
         # As in ZooKeeper the quota is looked at before the version.
         1 set /a/2 1 99                    => QUOTAEXCEEDED
         apply
         1 set /a/2 1                       => QUOTAEXCEEDED
         1 set /a/1 1234                    => v2
         1 set /a/2 1                       => v1
         1 delete /a/1
         1 create /a/3 data=1234            => /a/3
         1 create /a/6                      => QUOTAEXCEEDED
         apply
         1 create /a/6                      => QUOTAEXCEEDED",
    );
    World::new(rules()).play("open 1 \n 1 create /a => /a");
}

#[test]
fn pieces_that_a_manifest_names_stay() {
    let component = "a".repeat(64);
    let mut world = World::new(Rules { deploy_by_anyone: true, ..rules() });
    let play = |world: &mut World, script: &str| {
        world.play(&script.replace("MODULE", &format!("/zookeeper/modules/{component}")))
    };
    play(
        &mut world,
        &"open 1
          1 create /zookeeper/modules        => /zookeeper/modules
          1 create MODULE                    => MODULE
          1 create MODULE/00000              => MODULE/00000
          1 create /zookeeper/plugins        => /zookeeper/plugins
          1 create /zookeeper/plugins/p      => /zookeeper/plugins/p
          1 create /zookeeper/plugins/p/versions => /zookeeper/plugins/p/versions
          1 delete MODULE/00000
          1 create MODULE/00000              => MODULE/00000
          1 create /zookeeper/plugins/p/versions/1 data=DIGEST => /zookeeper/plugins/p/versions/1
          1 delete MODULE/00000              => BADARGUMENTS"
            .replace("DIGEST", &component),
    );
    let Some(Txn { outcome: Outcome::Refused(refusal), .. }) = world.history.last() else { panic!("it is refused") };
    assert!(refusal.text.contains("/zookeeper/plugins/p/versions/1 names that component"), "{}", refusal.text);
    play(
        &mut world,
        "1 set MODULE/00000 better                 => v1
         1 multi delete /zookeeper/plugins/p/versions/1 ; delete MODULE/00000 => ok ; ok
         1 delete MODULE",
    );
}

#[test]
fn the_control_plane_is_the_deployers() {
    play(
        "open 1
         1 create /zookeeper/plugins        => NOAUTH
         1 create /zookeeper/modules        => NOAUTH
         1 create /zookeeper/other          => /zookeeper/other
         auth 1 super:
         1 create /zookeeper/plugins        => /zookeeper/plugins
         open 2
         2 create /zookeeper/plugins/p      => NOAUTH
         2 set /zookeeper/plugins x         => NOAUTH
         2 acl /zookeeper/plugins 31:world:anyone => NOAUTH
         2 delete /zookeeper/plugins        => NOAUTH
         2 multi create /fine ; delete /zookeeper/plugins => NOAUTH at 1 of 2",
    );
    let mut open = World::new(Rules { deploy_by_anyone: true, ..rules() });
    open.play("open 1 \n 1 create /zookeeper/plugins => /zookeeper/plugins");
    let mut closed = World::new(rules());
    closed.play("open 1 \n 1 create /zookeeper/plugins => NOAUTH");
    let Outcome::Refused(refusal) = &closed.history[1].outcome else { panic!("it was refused") };
    assert!(refusal.text.contains("zookeeper.DigestAuthenticationProvider.superDigest"), "{}", refusal.text);
}

/// Refuses data that says so, and keeps what it was told.
struct Censor {
    seen: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Plugins for Censor {
    fn validate(&mut self, call: &Call<'_>, changes: &[Change]) -> Answered<()> {
        let mut seen = self.seen.lock();
        for change in changes {
            let path = overlay::path_of(change).expect("sessions are not judged");
            let before = call.view.original(path).map(|node| node.data.unwrap_or_default());
            let after = call.view.node(path).map(|node| node.data.unwrap_or_default());
            let siblings = call.view.children(crate::model::path::parent(path).expect("not the root"), None, 10);
            seen.push(format!("{path}: {before:?} -> {after:?} among {}", siblings.join(",")));
            if after.is_some_and(|data| &data[..] == b"bad") {
                return Answered::unasked(Err(Refusal::new(ErrorCode::BadArguments, "censor: bad")));
            }
        }
        Answered::unasked(Ok(()))
    }

    fn authorize(&mut self, _: &Call<'_>, _: Verb, _: &str) -> Answered<()> {
        Answered::unasked(Ok(()))
    }
}

#[test]
fn validators_judge_the_whole() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut world = World::with(rules(), Box::new(Censor { seen: seen.clone() }));
    world.play(
        "open 1
         1 create /a data=good              => /a
         1 create /b data=bad               => BADARGUMENTS
         stat /b                            => none
         1 set /a bad                       => BADARGUMENTS
         stat /a                            => v=0 cv=0 n=0 len=4
         1 multi create /c data=bad ; check /a ; delete /a ; check /c => BADARGUMENTS at 2 of 4
         1 multi set /a bad ; set /a fine   => v1 ; v2
         1 create /zookeeper/x data=bad     => /zookeeper/x
         1 multi create /zookeeper/y data=bad ; set /a more => /zookeeper/y ; v3
         auth 1 super:
         1 set /a bad                       => v4
         close 1
         apply",
    );
    assert_eq!(
        *seen.lock(),
        [
            "/a: None -> Some(b\"good\") among a,zookeeper",
            "/b: None -> Some(b\"bad\") among a,b,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"bad\") among a,zookeeper",
            "/c: None -> Some(b\"bad\") among c,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"fine\") among a,zookeeper",
            "/a: Some(b\"good\") -> Some(b\"fine\") among a,zookeeper",
            "/a: Some(b\"fine\") -> Some(b\"more\") among a,zookeeper",
        ]
    );
}

#[test]
fn time_never_runs_backwards() {
    let mut world = World::new(rules());
    world.play("open 1 \n tick -500 \n 1 create /a => /a \n tick 2000 \n 1 create /b => /b");
    let times: Vec<_> = world.history.iter().map(|txn| txn.wall_ms).collect();
    assert_eq!(times, [1_000_000, 1_000_000, 1_001_500]);
}
