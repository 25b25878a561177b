//! Numbers that are given anew: the next VM that is created gets the lowest one that is free.

use crate::stage::{Stage, busy};
use crate::support::{Vm, eventually};

/// A VM of its own, as `qm create` makes it.
fn with_identity(vm: Vm, uuid: &str) -> Vm {
    vm.set("smbios1", format!("uuid={uuid}"))
}

#[test]
fn a_new_vm_under_an_old_number_inherits_nothing() {
    let old = with_identity(busy(101, 3.0), "11111111-2222-4333-8444-555555555555");
    let Some(stage) = Stage::with([vec![old], vec![], vec![]]) else {
        return;
    };
    stage.start_all();
    eventually("its agent grows it", || stage.vcpus(0, 101) > 1);
    eventually("and tells the others", || {
        stage
            .facts(101)
            .is_some_and(|facts| !facts["learned"].is_null())
    });
    assert_eq!(stage.facts(101).unwrap()["baseline"]["vcpus"], 1);

    stage.destroy(101);
    let new = busy(101, 10.0).vcpus(3);
    stage.create(
        1,
        &with_identity(new, "66666666-7777-4888-9999-000000000000"),
    );
    eventually("it grows on its own node", || stage.vcpus(1, 101) >= 10);
    eventually("that is told", || {
        stage.facts(101).unwrap()["changes"]["cpu"]["node"] == "pve2"
    });
    let facts = stage.facts(101).unwrap();
    assert_eq!(
        facts["baseline"]["vcpus"], 3,
        "what it had is put back on release: {facts:#}"
    );
    let changes = facts["learned"]["cpu"]["changes"].as_array().unwrap();
    // One may be in hand that is not told yet; none is from before.
    let begun = stage.sets_on(1).len();
    assert!(changes.len() <= begun, "{begun} changes: {facts:#}");
    assert!(
        stage
            .log(1)
            .contains("this is another VM than the one that had its number")
    );
    stage.node(1).agent(["release", "101"]).succeeded();
    assert_eq!(stage.vcpus(1, 101), 3);
}
