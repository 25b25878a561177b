use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn recordings() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings")
}

/// What the recorded command did: its command line, exit code, stdout and stderr.
fn recorded(name: &str) -> Finished {
    let text = std::fs::read_to_string(recordings().join(name)).unwrap();
    let part = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start).unwrap();
        rest.split_once(end)
            .map_or(rest, |(part, _)| part)
            .to_owned()
    };
    Finished {
        argv: part("$ ", "\n").split(' ').map(str::to_owned).collect(),
        ended: Ended::Exited(part("exit code: ", "\n").parse().unwrap()),
        stdout: part("--- stdout\n", "--- stderr\n"),
        stderr: part("--- stderr\n", "--- config before"),
        truncated: false,
        elapsed: Duration::from_millis(1100),
    }
}

fn cause(name: &str) -> Cause {
    check(recorded(name)).unwrap_err().cause
}

fn hotplug(option: &str, message: &str) -> Cause {
    Cause::Hotplug {
        option: option.to_owned(),
        message: message.to_owned(),
    }
}

fn qmp_timeout(option: &str) -> Cause {
    Cause::QmpTimeout {
        option: Some(option.to_owned()),
    }
}

/// Every recorded failure and what it is.
fn expectations() -> Vec<(&'static str, Cause)> {
    let maxcpu = "you can't add more vcpus than maxcpus";
    let too_large = "balloon value too large (must be smaller than assigned memory)";
    let unreachable = |why: &str| Cause::QmpUnreachable(why.to_owned());
    let bad = |why: &str| Cause::BadParameter(why.to_owned());
    let other = |why: &str| Cause::Other(why.to_owned());
    let lookup = "hostname lookup 'pve2' failed - failed to get address info for: pve2: Name or service not known";
    vec![
        (
            "08-qemu-dies-during-vcpu-hotplug.txt",
            unreachable("client closed connection"),
        ),
        (
            "09-vcpus-6-while-cores-8-pending.txt",
            hotplug("vcpus", maxcpu),
        ),
        ("11-balloon-above-memory.txt", bad(too_large)),
        ("12-vcpus-above-cores.txt", hotplug("vcpus", maxcpu)),
        (
            "13-vcpus-zero.txt",
            bad("vcpus: value must have a minimum value of 1"),
        ),
        (
            "14e-memory-512-below-static.txt",
            hotplug(
                "memory",
                "memory can't be lower than 1024 MB at /usr/share/perl5/PVE/QemuServer/Memory.pm line 219.",
            ),
        ),
        (
            "17-memory-unplug-paused-guest.txt",
            hotplug("memory", "dimm3: error unplug memory module"),
        ),
        (
            "19-vcpus-down-paused-guest.txt",
            hotplug("vcpus", "error unplugging cpu2"),
        ),
        (
            "24d-stopped-start-vcpus-99.txt",
            other("memory size (2100) must be aligned to 512 for hotplugging"),
        ),
        ("25-no-such-vm.txt", Cause::NotOnThisNode),
        ("25b-no-such-vm-config.txt", Cause::NotOnThisNode),
        ("25c-no-such-vm-status.txt", Cause::NotOnThisNode),
        ("25d-no-such-vm-pending.txt", Cause::NotOnThisNode),
        (
            "25e-bad-vmid.txt",
            bad("vmid: invalid format - value does not look like a valid VM ID"),
        ),
        (
            "30-lock-backup-vcpus.txt",
            Cause::Locked("backup".to_owned()),
        ),
        (
            "30b-lock-backup-balloon.txt",
            Cause::Locked("backup".to_owned()),
        ),
        ("31-config-flock-held-14s.txt", Cause::LockTimeout),
        ("32-digest-mismatch.txt", Cause::ChecksumMismatch),
        ("33c-pvesh-set-fails.txt", hotplug("vcpus", maxcpu)),
        (
            "36-unknown-option.txt",
            bad("Unknown option: vcpusx; 400 unable to parse option"),
        ),
        (
            "37-non-integer.txt",
            bad("vcpus: type check ('integer') failed - got 'two'"),
        ),
        (
            "40d-qmp-socket-dead-set-vcpus.txt",
            unreachable("Connection refused"),
        ),
        ("41c-qemu-sigstop-set-vcpus.txt", qmp_timeout("vcpus")),
        (
            "42g-balloon-1536-shares-0-sigstop.txt",
            qmp_timeout("balloon"),
        ),
        ("50b-vm-on-other-node-set.txt", Cause::NotOnThisNode),
        ("50c-vm-on-other-node-pvesh.txt", other(lookup)),
        ("50d-other-node-list.txt", other(lookup)),
        ("60b-noquorum-set-vcpus.txt", Cause::NoQuorum),
        ("60c-noquorum-set-balloon.txt", Cause::NoQuorum),
    ]
}

#[test]
fn every_recorded_failure_is_told_from_its_text() {
    for (name, expected) in expectations() {
        assert_eq!(cause(name), expected, "{name}");
    }
}

#[test]
fn no_recorded_failure_is_without_its_expectation() {
    let known: Vec<_> = expectations().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(recordings()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("\nexit code: ") && !text.contains("\nexit code: 0\n") {
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn warnings_beside_exit_code_0_are_no_failure() {
    let done = check(recorded("31b-config-flock-held-4s.txt")).unwrap();
    assert_eq!(done.stderr, "trying to acquire lock...\n OK\n");
}

#[test]
fn only_a_held_lock_file_and_a_silent_qemu_are_worth_another_try() {
    let retryable: Vec<_> = expectations()
        .into_iter()
        .filter_map(|(name, cause)| cause.retryable().then_some(name))
        .collect();
    assert_eq!(
        retryable,
        [
            "31-config-flock-held-14s.txt",
            "41c-qemu-sigstop-set-vcpus.txt",
            "42g-balloon-1536-shares-0-sigstop.txt",
        ]
    );
    // Repeating it could remove one module too many.
    assert!(!qmp_timeout("memory").retryable());
    assert!(!Cause::TimedOut.retryable() && !Cause::Killed(9).retryable());
}

#[test]
fn texts_known_from_the_source_are_told_too() {
    let told = |stderr: &str| told_by(stderr, 255);
    // QemuServer.pm: qemu_cpu_hotplug; Monitor.pm: qmp_cmd; Cluster.pm: $cfs_lock.
    assert_eq!(
        told(
            "400 Parameter verification failed.\nvcpus: hotplug problem - vcpus in running vm does not match its configuration\n\nqm set <vmid> [OPTIONS]\n"
        ),
        Cause::VcpuMismatch
    );
    assert_eq!(told("VM 101 not running\n"), Cause::VmNotRunning);
    assert_eq!(
        told(
            "400 Parameter verification failed.\nmemory: hotplug problem - VM 101 qmp command 'object-add' failed - got timeout\n"
        ),
        qmp_timeout("memory")
    );
    assert_eq!(
        told("cfs-lock 'domain-x' error: no quorum!\n"),
        Cause::NoQuorum
    );
    assert_eq!(
        told(""),
        Cause::Other("exit code 255 without a message".to_owned())
    );
}

#[test]
fn a_refusal_of_two_options_is_told_by_the_first_alone() {
    let stderr = "400 Parameter verification failed.\nvcpus: hotplug problem - error unplugging cpu2\nmemory: hotplug problem - x\n";
    assert_eq!(
        told_by(stderr, 255),
        hotplug("vcpus", "error unplugging cpu2")
    );
}

#[test]
fn the_message_names_the_command_the_time_and_the_reason_on_one_safe_line() {
    let error = check(recorded("30-lock-backup-vcpus.txt")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "qm set 101 --vcpus 2 failed after 1.1 s: the VM is locked (backup); it can be changed when that has ended"
    );
    let mut hostile = recorded("25-no-such-vm.txt");
    hostile.stderr = "evil\u{1b}[2J\nVM 102: all is well\n".to_owned();
    let message = check(hostile).unwrap_err().to_string();
    assert!(
        message.ends_with("evil?[2J; VM 102: all is well"),
        "{message}"
    );
    assert!(!message.contains(char::is_control), "{message}");
}

#[test]
fn a_command_that_did_not_end_by_itself_has_an_unknown_outcome() {
    let ended = |ended| {
        let done = Finished {
            ended,
            ..recorded("25-no-such-vm.txt")
        };
        check(done).unwrap_err().cause
    };
    assert_eq!(ended(Ended::TimedOut), Cause::TimedOut);
    assert_eq!(ended(Ended::Signalled(15)), Cause::Killed(15));
    assert!(matches!(
        ended(Ended::SpawnFailed("x".to_owned())),
        Cause::NotStarted(_)
    ));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_print_control_characters(
        text in "(vcpus: )?(hotplug problem - |VM is locked \\(|VM 1 not running|qmp command|400 |\n|.|\u{1b}){0,12}"
    ) {
        let message = told_by(&text, 255).to_string();
        prop_assert!(!message.contains(char::is_control), "{message:?}");
    }
}
