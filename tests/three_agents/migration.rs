//! VMs that move.

use serde_json::Value;

use crate::stage::{COOLDOWN_MS, Stage, busy, milliseconds};
use crate::support::eventually;

#[test]
fn a_vm_that_migrates_is_taken_over_with_all_that_is_known_of_it() {
    let vms = [101, 102, 103].map(|id| vec![busy(id, 1.0)]);
    let Some(stage) = Stage::with(vms) else {
        return;
    };
    stage.start_all();
    for (node, vm) in [101, 102, 103].into_iter().enumerate() {
        eventually("each agent grows its VM", || stage.vcpus(node, vm) > 1);
    }
    eventually("and leaves it alone then", || stage.rests(0, 101));
    eventually("all see the same", || stage.is_in_order());
    let before = stage.facts(101).unwrap();
    let by_pve1 = stage.sets(101).len();

    stage.migrate(101, 1);
    stage.set_load(1, 101, 10.0);
    eventually("its new node takes it over", || {
        stage.facts(101).unwrap()["owner"] == "pve2"
    });
    let taken = stage.facts(101).unwrap();
    assert_eq!(taken["term"], 2);
    for kept in ["baseline", "changes", "learned"] {
        assert_eq!(taken[kept], before[kept], "{kept}");
    }
    let has = stage.vcpus(1, 101);
    eventually("it waits for the cool-down", || {
        stage.why(1, 101).contains("cool")
    });
    eventually("it grows there", || stage.vcpus(1, 101) > has);
    let first = stage.sets(101)[by_pve1];
    assert_eq!(first.node, 1);
    let waited = first.at_ms - milliseconds(taken["written"].as_str().unwrap());
    assert!(waited >= COOLDOWN_MS, "waited {waited} ms only");

    let changes = |facts: &Value| facts["learned"]["cpu"]["changes"].as_array().unwrap().len();
    eventually("what was learned grows", || {
        changes(&stage.facts(101).unwrap()) > changes(&before)
    });
    eventually("all see the same again", || stage.is_in_order());
    assert!(stage.why(0, 101).contains("pve2"), "{}", stage.why(0, 101));
    let late = stage.sets(101).split_off(by_pve1);
    assert!(late.iter().all(|set| set.node == 1), "{late:?}");
}
