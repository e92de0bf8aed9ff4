//! A member that was away so long that no other member's log reaches back to its last entry.

use super::*;

fn node(number: i32) -> Request {
    let Request::Create(mut asked) = create(&format!("/n{number}")) else { unreachable!("it is a create") };
    // Large, so that the checkpoint takes several pieces.
    asked.data = Some(vec![number as u8; 4000].into());
    Request::Create(asked)
}

#[tokio::test(start_paused = true)]
async fn it_takes_the_state_of_another_member_while_that_changes() {
    let level = limits::FORMAT_LEVEL + 1;
    let ensemble = Ensemble::start_at_level(level, |_| {}).await;
    until(|| ensemble.members.iter().all(|member| member.replica.order.format_level() == level)).await;
    let (away, _) = ensemble.followers();
    let leader = &ensemble.members[ensemble.leader()].replica;
    let behind = &ensemble.members[away].replica;
    ensemble.cut_off(away);
    let mut writer = ensemble.client(ensemble.leader()).await;
    for xid in 1..=200 {
        writer.ask(xid, node(xid)).await;
        assert_eq!(writer.next().await, (xid, 0));
    }
    let written = leader.order.boundary.lock().position().unwrap();
    let is_held = || leader.files.held_checkpoint().unwrap().is_some_and(|held| held.position() >= written);
    until(is_held).await;
    until(|| leader.ensemble.consensus().metrics().applied.is_some()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    leader.ensemble.consensus().purge(written.index).await;
    until(|| leader.ensemble.consensus().metrics().purged == Some(written)).await;
    assert_eq!(behind.files.purge_up_to(), None);

    ensemble.heal(away);
    let mut writer = ensemble.client(ensemble.leader()).await;
    for xid in 201..=300 {
        writer.ask(xid, node(xid)).await;
        assert_eq!(writer.next().await, (xid, 0));
    }
    until(|| behind.order.state.read().digest() == leader.order.state.read().digest()).await;
    assert_eq!(behind.order.format_level(), level, "the format level comes with the state");
    // The state it took is its image now, and its checkpoint.
    let installed = behind.files.purge_up_to();
    assert!(installed >= Some(written), "{installed:?}");
    assert!(behind.ensemble.consensus().metrics().purged >= Some(written));
    until(|| ensemble.members[away].serving() == Serving::Everybody).await;
    let mut reader = ensemble.client(away).await;
    for xid in [1, 200, 300] {
        reader.ask(xid, exists(&format!("/n{xid}"))).await;
        assert_eq!(reader.next().await, (xid, 0));
    }
}
