//! A node that dies, and its VM that goes on elsewhere.

use crate::served::now_ms;
use crate::stage::{Stage, busy};
use crate::support::eventually;

/// What HA's manager says of VM 103.
fn ha_state(stage: &Stage, state: &str) {
    let status =
        format!(r#"{{"service_status": {{"vm:103": {{"node": "pve1", "state": "{state}"}}}}}}"#);
    stage.put(0, "ha/manager_status", &status);
}

#[test]
fn a_vm_whose_node_died_is_taken_over_where_it_was_started_again() {
    let vms = [
        vec![busy(101, 0.5)],
        vec![busy(102, 0.5)],
        vec![busy(103, 3.0)],
    ];
    let Some(stage) = Stage::with(vms) else {
        return;
    };
    stage.put(0, "ha/resources.cfg", "vm: 103\n\tstate started\n");
    ha_state(&stage, "started");
    stage.start_all();
    eventually("its agent grows it", || stage.vcpus(2, 103) > 1);
    eventually("and tells the others", || stage.facts(103).is_some());
    let before = stage.facts(103).unwrap();

    stage.power_off(2);
    ha_state(&stage, "fence");
    ha_state(&stage, "recovery");
    stage.set_wish(103, 10.0);
    stage.recover(103, 0);
    let died = now_ms();
    eventually("its new agent leaves it to HA", || {
        stage.why(0, 103).contains("its HA state is recovery")
    });
    assert_eq!(stage.facts(103).unwrap()["owner"], "pve3");
    ha_state(&stage, "started");
    eventually("it is taken over", || {
        stage.facts(103).unwrap()["owner"] == "pve1"
    });
    eventually("it grows", || stage.vcpus(0, 103) >= 10);
    let after = stage.facts(103).unwrap();
    assert_eq!(after["baseline"], before["baseline"]);
    assert_eq!(after["term"], 2);

    stage.power_on(2);
    eventually("the dead node's agent is back", || {
        stage.why(2, 103) == "is on node pve1"
    });
    eventually("all see the same", || stage.is_in_order());
    let since = stage.sets(103).into_iter().filter(|set| set.at_ms > died);
    assert!(since.clone().count() > 0 && since.clone().all(|set| set.node == 0));
}
