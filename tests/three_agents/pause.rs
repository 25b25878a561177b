//! Orders to the whole cluster.

use crate::NODES;
use crate::served::now_ms;
use crate::stage::{COOLDOWN_MS, Stage, busy};
use crate::support::eventually;

const VMS: [u32; 3] = [101, 102, 103];

#[test]
fn a_pause_of_the_cluster_stops_every_agent_until_any_node_takes_it_back() {
    let Some(stage) = Stage::with(VMS.map(|id| vec![busy(id, 3.0)])) else {
        return;
    };
    stage.start_all();
    let order = ["pause", "--cluster", "--reason", "storage is being moved"];
    stage.node(0).agent(order).succeeded();
    // A tick later at most, and another for the order to get round; a busy machine takes its time.
    let paused = now_ms();
    for (node, vm) in VMS.into_iter().enumerate() {
        eventually("each agent stops", || {
            stage.why(node, vm).contains("paused")
        });
        eventually("at its second tick at the latest", || {
            stage.decided_at_ms(node) > paused + 2_000
        });
        let why = stage.why(node, vm);
        assert!(why.contains("paused by"), "{why}");
    }
    let stopped = now_ms();
    for (node, vm) in VMS.into_iter().enumerate() {
        stage.set_load(node, vm, 10.0);
        eventually("it looks on for longer than a cool-down", || {
            stage.decided_at_ms(node) > stopped + COOLDOWN_MS + 2_000
        });
        let sets = stage.sets(vm);
        assert!(sets.iter().all(|set| set.at_ms < stopped), "{sets:?}");
    }
    let shared = stage.served.accepted();
    let written = shared
        .iter()
        .filter(|one| one.at_ms > stopped + 2_000 && one.path.starts_with("vm-autoscale/"));
    assert_eq!(
        written.count(),
        0,
        "agents at rest write nothing: {shared:?}"
    );
    for node in 0..NODES.len() {
        let overview = stage.overview(node);
        assert_eq!(overview["pause"]["reason"], "storage is being moved");
    }

    stage.node(1).agent(["resume", "--cluster"]).succeeded();
    for (node, vm) in VMS.into_iter().enumerate() {
        eventually("each agent goes on", || stage.vcpus(node, vm) >= 10);
    }
    eventually("all see the same", || stage.is_in_order());
}
