//! A node as the screens' tests see it: one VM for each look.

use std::time::Duration;

use crate::act::{Done, Outcome};
use crate::decide::{Change, Reason};
use crate::domain::{
    Capabilities, Cores, Lever, Mib, Moment, Reading, Resource, Source, VmId, VmName,
};
use crate::record::{AgentState, HostState, ResourceState, STATE_VERSION, State, VmState};

/// The time of the tests: 2026-11-24, 12:00 UTC.
pub(super) const NOW: Moment = Moment::from_millis(1_795_521_600_000);

fn ago(seconds: u64) -> Moment {
    NOW - Duration::from_secs(seconds)
}

fn id(vm: u32) -> VmId {
    vm.to_string().parse().unwrap()
}

/// A resource that needs, has, and lies between; it fits.
fn resource(resource: Resource, lever: Lever, [need, has, min, max]: [f64; 4]) -> ResourceState {
    let source = match resource {
        Resource::Cpu => Source::Cgroup,
        Resource::Memory => Source::Guest,
    };
    let amount = |value| resource.amount(value);
    ResourceState {
        resource,
        need: Reading::known(amount(need), ago(1), source),
        allocation: Reading::known(amount(has), ago(1), Source::Qemu),
        lever: Some(lever),
        min: Some(amount(min)),
        max: Some(amount(max)),
        wanted: Some(amount(has)),
        target: None,
        recommended: None,
        why: String::new(),
        reason: Reason::Fits,
        peaks: Vec::new(),
        last: None,
    }
}

fn vm(number: u32, name: &str) -> VmState {
    VmState {
        vmid: id(number),
        name: VmName::new(name),
        node: "pve1".parse().unwrap(),
        managed: true,
        pending: Vec::new(),
        can: Capabilities::none("not looked at here"),
        windows: Vec::new(),
        cpu: resource(Resource::Cpu, Lever::Vcpus, [0.4, 2.0, 1.0, 8.0]),
        memory: resource(
            Resource::Memory,
            Lever::Balloon,
            [1434.0, 4096.0, 1024.0, 16384.0],
        ),
    }
}

/// A change of `vm`'s CPU that ended `seconds` ago.
pub(super) fn done(vm: &VmState, outcome: Outcome, seconds: u64) -> Done {
    Done {
        change: Change {
            vm: vm.vmid,
            name: vm.name.clone(),
            lever: Lever::Vcpus,
            from: Resource::Cpu.amount(1.0),
            to: Resource::Cpu.amount(4.0),
            reason: Reason::NeedsMore {
                need: Resource::Cpu.amount(3.2),
            },
        },
        outcome,
        now: Reading::known(Resource::Cpu.amount(4.0), ago(seconds), Source::Qemu),
        at: ago(seconds),
        took: Duration::from_millis(1230),
    }
}

/// Six VMs: calm, growing, at its maximum, waiting for the admin, refused and cooling down, and unmeasured.
pub(super) fn state() -> State {
    let calm = vm(101, "web");
    let mut grows = vm(102, "db");
    grows.cpu.need = Reading::known(Resource::Cpu.amount(3.6), ago(1), Source::Cgroup);
    grows.cpu.allocation = Reading::known(Resource::Cpu.amount(4.0), ago(1), Source::Qemu);
    grows.cpu.wanted = Some(Resource::Cpu.amount(6.0));
    grows.cpu.target = Some(Resource::Cpu.amount(6.0));
    grows.cpu.reason = Reason::NeedsMore {
        need: Resource::Cpu.amount(3.6),
    };
    grows.cpu.last = Some(done(&grows, Outcome::Applied, 300));
    let mut full = vm(103, "build-runner-with-a-long-name");
    full.memory.need = Reading::known(Resource::Memory.amount(15872.0), ago(2), Source::Guest);
    full.memory.allocation = Reading::known(Resource::Memory.amount(16384.0), ago(2), Source::Qemu);
    full.memory.wanted = Some(Resource::Memory.amount(20480.0));
    full.memory.reason = Reason::AtMax {
        max: Resource::Memory.amount(16384.0),
    };
    let mut waits = vm(104, "mail");
    waits.cpu.recommended = Some(Resource::Cpu.amount(4.0));
    waits.cpu.reason = Reason::NotAutomatic {
        mode: "recommend".to_owned(),
        to: Resource::Cpu.amount(4.0),
    };
    let mut refused = vm(105, "legacy");
    refused.cpu.lever = Some(Lever::Cpulimit);
    refused.cpu.last = Some(done(&refused, Outcome::Refused("no".to_owned()), 40));
    refused.cpu.reason = Reason::CoolingDown {
        until: NOW + Duration::from_secs(20),
    };
    let mut silent = vm(106, "windows");
    let why = "the balloon driver does not answer";
    silent.memory.need = Reading::unknown(why);
    silent.memory.wanted = None;
    silent.memory.reason = Reason::Unmeasured {
        why: why.to_owned(),
    };
    let mut vms = vec![calm, grows, full, waits, refused, silent];
    for vm in &mut vms {
        vm.cpu.why = vm.cpu.reason.to_string();
        vm.memory.why = vm.memory.reason.to_string();
    }
    State {
        version: STATE_VERSION,
        at: ago(1),
        node: "pve1".parse().unwrap(),
        agent: AgentState {
            version: "0.1.0".to_owned(),
            pid: 1,
            since: ago(3600),
            check_interval: Duration::from_secs(5),
            config_rejected: None,
        },
        quorate: Reading::known(true, ago(1), Source::ConfigFile),
        pause: None,
        host: HostState {
            cpus: Cores::whole(16),
            cpu_used: Reading::known(Cores::from_f64(6.2), ago(1), Source::Proc),
            memory_total: Mib::gib(64),
            memory_available: Reading::known(Mib::gib(21), ago(1), Source::Proc),
        },
        vms,
    }
}
