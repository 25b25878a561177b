//! Stories of VMs that another node could have to take.

use super::*;
use crate::config::FitElsewhere;
use crate::observe::OtherNode;

/// Another node of so many CPUs, with so much free memory and 8 GiB in use.
fn other(name: &str, cpus: u32, free: Mib) -> OtherNode {
    OtherNode {
        name: name.parse().unwrap(),
        cpus: Cores::whole(cpus),
        memory_total: free + Mib::gib(8),
        memory_available: free,
    }
}

/// A VM that uses all of its 2 vCPUs and nearly all of its 4 GiB, and that high availability looks after, beside `others`.
fn busy_beside(others: impl IntoIterator<Item = OtherNode>) -> Story {
    let mut vm = vm(101);
    vm.fails_over = true;
    vm.cpu.usage = cpu_usage(2.0);
    vm.memory.need = memory_need(4000);
    let mut story = Story::of([vm]);
    let others = others.into_iter().collect();
    story.snapshot.cluster.others = Reading::known(others, NOW, Source::Pvestatd);
    story
}

fn targets(plan: &Plan) -> Vec<(Lever, Amount)> {
    plan.changes.iter().map(|c| (c.lever, c.to)).collect()
}

fn nowhere(most: Amount) -> Reason {
    Reason::FitsNowhereElse {
        most,
        node: "pve2".parse().unwrap(),
    }
}

#[test]
fn it_grows_to_what_the_roomiest_other_node_could_give_it() {
    let alone = busy_beside([]).tick();
    let free = busy_beside([other("pve2", 64, Mib::gib(60))]).tick();
    assert_eq!(targets(&free), targets(&alone), "there is room for all");
    // 2 GiB of the other node's are reserve.
    let mut story = busy_beside([
        other("pve2", 3, Mib(2048 + 4352)),
        other("pve3", 2, Mib::gib(4)),
    ]);
    let bounded = [
        (Lever::Vcpus, Amount::vcpus(3)),
        (Lever::Balloon, Amount::Memory(Mib(4352))),
    ];
    assert_eq!(targets(&story.tick()), bounded);
}

#[test]
fn without_room_elsewhere_it_stays_and_the_reason_names_the_node() {
    let mut story = busy_beside([other("pve2", 2, Mib::gib(6))]);
    let plan = story.tick();
    assert_eq!(plan.changes, []);
    let reasons: Vec<_> = plan.verdicts.iter().map(|v| v.reason.clone()).collect();
    let expected = [
        nowhere(Amount::vcpus(2)),
        nowhere(Amount::Memory(Mib::gib(4))),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn what_it_has_already_is_not_taken_for_the_sake_of_another_node() {
    let mut story = busy_beside([other("pve2", 1, Mib::gib(2))]);
    story.vm(101).cpu.usage = cpu_usage(1.6);
    story.vm(101).memory.need = memory_need(3400);
    for _ in 0..100 {
        assert_eq!(story.step().changes, []);
    }
}

#[test]
fn the_node_that_could_take_the_rest_of_it_comes_first() {
    let roomy_but_small = other("pve3", 64, Mib::gib(3));
    let mut story = busy_beside([roomy_but_small, other("pve2", 2, Mib::gib(60))]);
    assert_eq!(
        story.tick().verdicts[0].reason,
        nowhere(Amount::vcpus(2)),
        "its memory would not fit on pve3"
    );
}

#[test]
fn the_setting_says_which_vms_it_holds_for() {
    let mut story = busy_beside([other("pve2", 2, Mib::gib(6))]);
    story.settings.host.fit_elsewhere = FitElsewhere::Off;
    assert_eq!(story.tick().changes.len(), 2);
    story.settings.host.fit_elsewhere = FitElsewhere::All;
    story.vm(101).fails_over = false;
    assert_eq!(story.tick().changes, []);
    story.settings.host.fit_elsewhere = FitElsewhere::Ha;
    assert_eq!(story.tick().changes.len(), 2);
}

#[test]
fn unknown_room_is_no_room_but_takes_nothing_away() {
    let mut story = busy_beside([]);
    story.snapshot.cluster.others = Reading::unknown("it has not answered");
    let plan = story.tick();
    assert_eq!(plan.changes, []);
    let why = "what other nodes could take: it has not answered".to_owned();
    assert_eq!(plan.verdicts[0].reason, Reason::Unmeasured { why });
    story.vm(101).cpu.usage = cpu_usage(0.2);
    story.vm(101).memory.need = memory_need(1000);
    let taken: usize = (0..100).map(|_| story.step().changes.len()).sum();
    assert!(taken > 0, "it may still shrink");
}
