//! A controller's writes take effect only if nothing that the controller looked at has changed.

use super::{Fakes, Setup, Stage, check, run};
use crate::model::{Acl, NodeKind};
use crate::pipeline::overlay::Overlay;
use crate::pipeline::reconcile::{OptimisticTransaction, Reconciled, Step};
use crate::pipeline::view::View;
use crate::pipeline::{Ask, ReadView as _, TreeWriter as _};
use crate::wire::request::Request;
use std::sync::Arc;

/// The work of a controller that keeps the number of `/f`'s children in `/f/n`.
fn counted(stage: &Stage) -> Reconciled {
    let overlay = Overlay::default();
    let state = &stage.world.state;
    let committed = View { state, overlay: &overlay };
    let work = OptimisticTransaction::new(&committed);
    let count = work.children("/f", None, 1000).iter().filter(|name| *name != "n").count();
    match work.node("/f/n") {
        Some(_) => work.set_data("/f/n", count.to_string().as_bytes(), None).unwrap(),
        None => {
            let acl: Acl = Arc::from([]);
            work.create("/f/n", count.to_string().as_bytes(), NodeKind::Persistent, &acl, false).map(drop).unwrap();
        }
    }
    let foretold = work.create("/f/x-", b"", NodeKind::Persistent, &Arc::from([]), true).unwrap();
    let cversion = state.node("/f").unwrap().cversion() + i32::from(state.node("/f/n").is_none());
    assert_eq!(foretold, format!("/f/x-{cversion:010}"));
    work.set_timer("/f", 50).unwrap();
    let (conditions, steps) = work.finish();
    Reconciled { plugin: "counts".into(), version: 2, fuel: 9, path: "/f".into(), conditions, steps }
}

/// Whether the work became a transaction, refused or not.
fn reconcile(stage: &mut Stage, work: Reconciled) -> bool {
    stage.submit(None, Ask::Reconcile(Box::new(work)))
}

#[test]
fn work_holds_as_long_as_what_it_looked_at() {
    let (mut stage, fakes) = Fakes::stage(&Setup::bare());
    fakes.run(&mut stage, "fake recipe counts /nowhere note").unwrap();
    run(&mut stage, "client a: create /f\n client a: create /f/a\n hold showing answers");

    let overtaken = counted(&stage);
    run(&mut stage, "client b: create /f/b");
    assert!(!reconcile(&mut stage, overtaken), "outstanding changes count");

    run(&mut stage, "apply all");
    let current = counted(&stage);
    run(&mut stage, "client b: create /elsewhere");
    assert!(reconcile(&mut stage, current.clone()));
    assert_eq!(fakes.run(&mut stage, "fake made").unwrap(), ["made <- 4 changes, counts version 2 fuel 9"]);
    assert!(stage.world.youngest().unwrap().txn.origin.is_none());
    assert!(!reconcile(&mut stage, current));
    check(
        &mut stage,
        &[
            ("view /f/n", "view <- /f/n version 0 cversion 0 children 0 data 2"),
            (
                "view /zookeeper/plugins/counts/timers/%2Ff",
                "view <- /zookeeper/plugins/counts/timers/%2Ff version 0 cversion 0 children 0 data 50 0",
            ),
        ],
    );

    // A timer that calls the controller is deleted together with the call's writes, unless the call sets it anew.
    run(&mut stage, "apply all\n tick 50");
    let mut last = counted(&stage);
    last.steps.retain(|step| !matches!(step, Step::SetTimer { .. }));
    assert!(reconcile(&mut stage, last));
    check(
        &mut stage,
        &[(
            "view /zookeeper/plugins/counts/timers",
            "view <- /zookeeper/plugins/counts/timers version 0 cversion 2 children 0 data \"\"",
        )],
    );

    // All steps take effect, or none.
    run(&mut stage, "apply all");
    let mut wrong = counted(&stage);
    wrong.steps.push(Step::Request(Request::Delete { path: Some("/missing".into()), version: -1 }));
    assert!(reconcile(&mut stage, wrong));
    assert!(format!("{:?}", stage.world.youngest().unwrap().txn.outcome).contains("NoNode"));
    check(&mut stage, &[("view /f/n", "view <- /f/n version 1 cversion 0 children 0 data 3")]);
}
