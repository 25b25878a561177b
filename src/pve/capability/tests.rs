//! Each kind of guest, and what its levers can do.

use super::*;
use crate::pve::qmp::{Balloon, GuestStats, MemorySize, Status};

const NOW: Moment = Moment::from_millis(1_800_000_000_000);
const WISH: Wish = Wish {
    cpu: Cores::whole(8),
    memory: Mib::gib(16),
    host_cpus: 16,
};

/// What a Linux guest's QEMU answers: `modules` MiB on top of `base`, a driver that told `silence` seconds ago.
fn answers(base: u64, modules: u64, silence: Option<u64>) -> Answers {
    let told = silence.map(|seconds| NOW - Duration::from_secs(seconds));
    Answers {
        version: None,
        status: Ok(Status {
            running: true,
            word: "running".into(),
        }),
        vcpus: Err("not asked".into()),
        balloon: Ok(Some(Balloon {
            actual: Mib(base + modules),
            max_mem: None,
        })),
        guest_stats: Ok(Some(GuestStats {
            last_update: told,
            total: Some(Mib(base + modules)),
            free: None,
            available: Some(Mib(512)),
            disk_caches: None,
            swap_in: None,
            swap_out: None,
            major_faults: None,
            oom_kills: None,
            alloc_stalls: None,
            direct_reclaims: None,
        })),
        memory: Ok(MemorySize {
            base: Mib(base),
            plugged: Mib(modules),
        }),
        dimms: Ok(Vec::new()),
    }
}

fn of(config: &str, vcpus: u32, answers: &Answers) -> Capabilities {
    let running = Running {
        answers: Ok(answers),
        vcpus: Some(vcpus),
        now: NOW,
        host_bits: Some(46),
    };
    capabilities(&VmConfig::parse(config), Some(running), WISH)
}

const READY: &str = "cores: 8\nvcpus: 2\nmemory: 4096\nballoon: 2048\nhotplug: disk,network,usb,memory,cpu\nnuma: 1\nostype: l26\n";

fn line(set: &[Setting]) -> String {
    set.iter()
        .map(|s| format!("--{} {}", s.option, s.value))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_prepared_linux_moves_by_every_lever() {
    let can = of(READY, 2, &answers(1024, 3072, Some(1)));
    assert_eq!(can.vcpus.to_string(), "moves now, 1 core to 8 cores");
    assert_eq!(can.cpulimit.to_string(), "moves now, 0.1 cores to 2 cores");
    assert_eq!(can.balloon.to_string(), "moves now, 16 MiB to 4 GiB");
    assert_eq!(can.dimm.to_string(), "moves now, 1 GiB to 497 GiB");
    assert_eq!(can.sizes[..3], [Mib(1024), Mib(1536), Mib(2048)]);
    assert_eq!(can.disagreements, Vec::<String>::new());
}

#[test]
fn a_linux_without_hotplug_learns_what_to_set() {
    let can = of("cores: 2\nmemory: 2100\n", 2, &answers(2100, 0, Some(1)));
    let Capability::AfterPowerCycle { set, .. } = &can.vcpus else {
        panic!("{}", can.vcpus)
    };
    assert_eq!(
        line(set),
        "--hotplug network,disk,cpu,usb --cores 8 --vcpus 2"
    );
    let Capability::AfterPowerCycle { set, .. } = &can.dimm else {
        panic!("{}", can.dimm)
    };
    assert_eq!(
        line(set),
        "--hotplug network,disk,memory,usb --numa 1 --memory 2560"
    );
    assert!(can.balloon.obstacle().is_none() && can.cpulimit.obstacle().is_none());
    let config = VmConfig::parse("cores: 2\nmemory: 2100\n");
    let all = all_settings(&config, &Ladder::of(&config, Some(46)), WISH);
    assert_eq!(
        line(&all),
        "--hotplug network,disk,cpu,memory,usb --cores 8 --vcpus 2 --numa 1 --memory 2560"
    );
}

#[test]
fn a_windows_guest_takes_but_does_not_give_back() {
    let config = READY.replace("l26", "win11");
    let can = of(&config, 2, &answers(1024, 3072, Some(1)));
    assert!(!can.vcpus.shrinks() && !can.dimm.shrinks());
    assert!(can.balloon.shrinks() && can.cpulimit.shrinks());
}

#[test]
fn an_old_machine_type_gives_no_vcpu_back() {
    for (machine, shrinks) in [
        ("pc-i440fx-2.6", false),
        ("pc-q35-2.7", true),
        ("pc-i440fx-9.2+pve1", true),
        ("q35", true),
    ] {
        let can = of(
            &format!("{READY}machine: {machine}\n"),
            2,
            &answers(1024, 3072, Some(1)),
        );
        assert_eq!(can.vcpus.shrinks(), shrinks, "{machine}");
    }
    assert!(
        of(
            &format!("{READY}machine: virt\n"),
            2,
            &answers(1024, 3072, Some(1))
        )
        .vcpus
        .obstacle()
        .is_some()
    );
}

#[test]
fn a_guest_whose_balloon_driver_is_silent_cannot_balloon() {
    for (silence, says) in [(None, "does not answer"), (Some(60), "silent for 60 s")] {
        let can = of(READY, 2, &answers(1024, 3072, silence));
        assert!(
            can.balloon.obstacle().unwrap().contains(says),
            "{}",
            can.balloon
        );
    }
}

#[test]
fn a_vm_without_balloon_device_can_have_one_after_a_power_cycle() {
    let can = of(
        &READY.replace("balloon: 2048", "balloon: 0"),
        2,
        &answers(1024, 3072, None),
    );
    let Capability::AfterPowerCycle { set, .. } = &can.balloon else {
        panic!("{}", can.balloon)
    };
    assert_eq!(line(set), "--balloon 4096 --shares 0");
}

#[test]
fn what_rules_a_lever_out_is_named() {
    let cases = [
        ("virtiofs0: share\n", "virtiofs", false, true),
        ("numa0: cpus=0-1,memory=4096\n", "NUMA", false, true),
        ("hugepages: 2\n", "huge pages", true, false),
        ("hostpci0: 01:00\n", "passed through", true, false),
    ];
    for (key, says, modules, balloon) in cases {
        let can = of(&format!("{READY}{key}"), 2, &answers(1024, 3072, Some(1)));
        assert_eq!(
            can.dimm.obstacle().is_none(),
            modules,
            "{key}: {}",
            can.dimm
        );
        assert_eq!(
            can.balloon.obstacle().is_none(),
            balloon,
            "{key}: {}",
            can.balloon
        );
        let told = can.dimm.obstacle().or(can.balloon.obstacle()).unwrap();
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn where_qemu_disagrees_it_is_right_and_nothing_is_done_that_pve_would_get_wrong() {
    // Recorded in 21-divergence-after-resume.txt: a guest acted late on an unplug.
    let can = of(
        "cores: 4\nvcpus: 2\nmemory: 3072\nhotplug: memory,cpu\nnuma: 1\n",
        1,
        &answers(1024, 1536, Some(1)),
    );
    assert_eq!(can.disagreements.len(), 2);
    assert!(
        can.dimm.obstacle().unwrap().contains("QEMU has 2.5 GiB"),
        "{}",
        can.dimm
    );
    assert!(
        can.vcpus.obstacle().is_none(),
        "fewer than configured: `qm set` can put it right"
    );
    let more = of(
        "cores: 4\nvcpus: 2\nmemory: 2560\nhotplug: cpu\n",
        3,
        &answers(2560, 0, Some(1)),
    );
    assert!(
        more.vcpus.obstacle().unwrap().contains("QEMU has 3"),
        "{}",
        more.vcpus
    );
}

#[test]
fn qemu_started_before_hotplug_was_switched_on_has_none() {
    let can = of(READY, 2, &answers(4096, 0, Some(1)));
    assert!(
        can.dimm
            .obstacle()
            .unwrap()
            .contains("before memory hotplug"),
        "{}",
        can.dimm
    );
}

#[test]
fn a_vm_that_does_not_run_moves_by_nothing() {
    let can = capabilities(&VmConfig::parse(READY), None, WISH);
    assert!(can.vcpus.obstacle().is_some() && can.balloon.obstacle().is_some());
}
