//! Nodes that do not reach each other.

use crate::served::now_ms;
use crate::stage::{COOLDOWN_MS, Stage, busy};
use crate::support::eventually;

/// The kernel believes what it was told of /etc/pve for a second.
const BELIEVED_MS: u64 = 1_000;

#[test]
fn the_agent_of_a_node_that_is_cut_off_changes_nothing_and_goes_on_when_it_is_back() {
    let vms = [101, 102, 103].map(|id| vec![busy(id, 3.0)]);
    let Some(stage) = Stage::with(vms) else {
        return;
    };
    stage.start_all();
    for (node, vm) in [101, 102, 103].into_iter().enumerate() {
        eventually("each agent grows its VM", || stage.vcpus(node, vm) > 1);
        eventually("and tells the others", || stage.facts(vm).is_some());
    }

    stage.served.rewire(|fs| fs.set_partition(2, 1));
    let cut_off = now_ms();
    stage.set_load(0, 101, 10.0);
    stage.set_load(2, 103, 10.0);
    let no_quorum = "the cluster has no quorum";
    eventually("it says so", || stage.log(2).contains(no_quorum));
    eventually("its VM is left alone", || stage.why(2, 103) == no_quorum);
    let pause = stage.node(2).agent(["pause", "--cluster"]);
    assert_eq!(pause.code, Some(1), "nobody would hear of it: {pause:?}");
    eventually("the others go on", || stage.vcpus(0, 101) >= 10);
    let had = stage.vcpus(2, 103);
    let long = cut_off + BELIEVED_MS + 2 * COOLDOWN_MS;
    eventually("it looks on for longer than it would have waited", || {
        stage.decided_at_ms(2) > long
    });
    let of_103 = stage.sets(103);
    let late = of_103
        .iter()
        .filter(|set| set.at_ms > cut_off + BELIEVED_MS);
    assert_eq!(late.count(), 0, "{of_103:?}, cut off at {cut_off}");
    assert_eq!(stage.vcpus(2, 103), had);
    let shared = stage.served.accepted();
    let mut of_pve3 = shared.iter().filter(|one| one.node == 2);
    assert!(of_pve3.next_back().unwrap().at_ms <= cut_off, "{shared:?}");
    assert_eq!(stage.log(2).matches(no_quorum).count(), 1);
    assert!((0..2).all(|node| !stage.log(node).contains(no_quorum)));

    stage.served.rewire(|fs| fs.set_partition(2, 0));
    eventually("it goes on", || stage.vcpus(2, 103) > had);
    eventually("all see the same", || stage.is_in_order());
    assert_eq!(stage.log(2).matches(no_quorum).count(), 1);
}
