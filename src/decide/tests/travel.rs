//! Stories of VMs that move to another node: what was learned goes with them.

use proptest::prelude::*;

use super::*;
use crate::config::PolicyKind;

/// Demands that go up and down; `seed` makes them differ.
fn demand(seed: u32, tick: u32) -> (f64, u64) {
    let cpu = if (tick + seed) % (20 + seed % 7) < 6 {
        3.3
    } else {
        0.7
    };
    let memory = 2000 + u64::from((tick / 40 + seed) % 5) * 900;
    (cpu, memory)
}

/// A story whose cool-downs are short, so that they hide nothing.
fn story(policy: PolicyKind) -> Story {
    let mut story = Story::of([vm(101)]);
    let own = story.settings.profiles.get_mut("default").unwrap();
    (own.policy, own.cooldown.up, own.cooldown.down) = (policy, TICK, TICK);
    story
}

/// Runs on for some ticks; the sizes after each.
fn live(story: &mut Story, seed: u32, ticks: std::ops::Range<u32>) -> Vec<(u32, u64)> {
    let mut sizes = Vec::new();
    for tick in ticks {
        let (cpu, memory) = demand(seed, tick);
        let has = f64::from(story.vm(101).cpu.vcpus.get().unwrap());
        let actual = story.vm(101).memory.balloon.actual.get().unwrap();
        story.vm(101).cpu.usage = cpu_usage(cpu.min(has));
        story.vm(101).memory.need = memory_need(memory.min(actual.0));
        story.snapshot = later(story.snapshot.clone(), Duration::ZERO);
        story.step();
        let vm = story.vm(101);
        sizes.push((
            vm.cpu.vcpus.get().unwrap(),
            vm.memory.balloon.actual.get().unwrap().0,
        ));
    }
    sizes
}

/// What the next owner knows of the VM: what was written down of it, and nothing else.
fn moved(story: &Story) -> Memory {
    let id = 101.try_into().unwrap();
    let packed = story.memory.of_vm(id).unwrap().packed();
    let mut memory = Memory::default();
    let now = story.snapshot.at;
    memory.take_over(id, packed.and_then(VmMemory::unpacked), now, now);
    memory
}

#[test]
fn the_next_owner_decides_as_the_last_one_would_have() {
    for policy in [PolicyKind::Adaptive, PolicyKind::Threshold] {
        for seed in 0..4 {
            let mut stays = story(policy);
            live(&mut stays, seed, 0..1500);
            // A cool-down begins anew on the other node; the last change here is to be as long ago.
            stays.memory.take_over(
                101.try_into().unwrap(),
                stays.memory.of_vm(101.try_into().unwrap()).cloned(),
                stays.snapshot.at,
                stays.snapshot.at,
            );
            let mut goes = story(policy);
            goes.snapshot = stays.snapshot.clone();
            goes.memory = moved(&stays);
            let there = live(&mut goes, seed, 1500..2500);
            assert_eq!(
                there,
                live(&mut stays, seed, 1500..2500),
                "{policy:?} {seed}"
            );
        }
    }
}

#[test]
fn what_another_version_has_learned_is_learned_anew_and_the_rest_is_kept() {
    let mut story = story(PolicyKind::Adaptive);
    live(&mut story, 1, 0..300);
    let id = 101.try_into().unwrap();
    let own = story.memory.of_vm(id).unwrap().clone();
    let mut packed = own.packed().unwrap();
    packed["learned_version"] = 2.into();
    packed["cpu"]["policy"] = serde_json::json!({"clairvoyant": {"crystal": "ball"}});
    packed["memory"]["added_later"] = 7.into();
    let unpacked = VmMemory::unpacked(packed.clone()).unwrap();
    assert_eq!(unpacked, own.without_policies());
    // The same where the version is right and the form is not.
    packed["learned_version"] = 1.into();
    assert_eq!(VmMemory::unpacked(packed), Some(own.without_policies()));
    assert_eq!(VmMemory::unpacked(serde_json::json!("nonsense")), None);
}

#[test]
fn what_was_learned_of_a_large_vm_whose_need_falls_all_day_goes_with_it() {
    let mut large = vm(101);
    let (cores, gib) = (256, 1024);
    large.can = can(cores, gib * 1024);
    (large.cpu.ceiling, large.memory.configured) = (cores, Mib::gib(gib));
    large.memory.ceiling = Reading::known(Mib::gib(gib), NOW, Source::Qemu);
    large.memory.balloon.actual = Reading::known(Mib::gib(gib), NOW, Source::Qemu);
    large.cpu.vcpus = Reading::known(cores, NOW, Source::Qemu);
    let mut story = Story::of([large]);
    let own = story.settings.profiles.get_mut("default").unwrap();
    (own.cpu.max, own.memory.max) = (Cores::whole(cores), Mib::gib(gib));
    for minute in 0..1500_u32 {
        let left = f64::from(1500 - minute) / 1500.0;
        story.vm(101).cpu.usage = cpu_usage(f64::from(cores) * left);
        story.vm(101).memory.need = memory_need((900.0 * 1024.0 * left) as u64);
        story.snapshot = later(story.snapshot.clone(), TICK * 11);
        story.step();
    }
    let packed = story
        .memory
        .of_vm(101.try_into().unwrap())
        .unwrap()
        .packed();
    let packed = packed.unwrap();
    let bytes = packed.to_string().len();
    assert!(
        packed["memory"]["policy"].is_object(),
        "left behind in {bytes} bytes"
    );
    assert!(
        packed["cpu"]["policy"].is_object(),
        "left behind in {bytes} bytes"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_goes_with_a_vm_is_small_and_holds_what_was_learned(
        loads in proptest::collection::vec((0.0..9.0f64, 300u64..16_000), 1..600),
        both: bool,
    ) {
        let mut story = story(PolicyKind::Adaptive);
        let own = story.settings.profiles.get_mut("default").unwrap();
        own.cpu.rule.steady.down = Duration::from_secs(3600);
        own.cpu.min = Cores::milli(100);
        let half = loads.len() / 2;
        for (index, (cpu, memory)) in loads.iter().enumerate() {
            if both && index == half {
                story.settings.profiles.get_mut("default").unwrap().policy = PolicyKind::Threshold;
            }
            let actual = story.vm(101).memory.balloon.actual.get().unwrap();
            story.vm(101).cpu.usage = cpu_usage(*cpu);
            story.vm(101).memory.need = memory_need((*memory).min(actual.0));
            story.snapshot = later(story.snapshot.clone(), TICK * 20);
            story.step();
        }
        let own = story.memory.of_vm(101.try_into().unwrap()).unwrap();
        let packed = own.packed().unwrap();
        let bytes = packed.to_string().len();
        prop_assert!(bytes <= LEARNED_MAX, "{} bytes", bytes);
        prop_assert!(packed["cpu"]["policy"].is_object(), "left behind in {} bytes", bytes);
        let again = VmMemory::unpacked(packed.clone()).unwrap().packed().unwrap();
        prop_assert_eq!(again, packed);
    }
}
