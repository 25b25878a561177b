use std::fs;

use proptest::prelude::*;

use super::*;

/// A node with one QEMU process, number 4711, made of plain files under a root of its own.
struct Node {
    _dir: tempfile::TempDir,
    layout: Layout,
    vm: VmId,
}

const PID: u32 = 4711;

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Self {
            layout: Layout::new(dir.path()),
            _dir: dir,
            vm: "101".parse().unwrap(),
        };
        fs::create_dir_all(node.layout.pid_file(node.vm).parent().unwrap()).unwrap();
        fs::create_dir_all(node.process().join("task")).unwrap();
        node.write("uptime", "5000.50 9000.00\n");
        node.pid_file("4711\n");
        node.cmdline("/usr/bin/kvm", "/var/run/qemu-server/101.pid");
        node.stat("S", 200_000);
        node
    }

    fn process(&self) -> PathBuf {
        self.layout.proc().join(PID.to_string())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.layout.proc().join(name), text).unwrap();
    }

    fn pid_file(&self, text: &str) {
        fs::write(self.layout.pid_file(self.vm), text).unwrap();
    }

    fn cmdline(&self, program: &str, pid_file: &str) {
        let text = [
            program,
            "-id",
            "101",
            "-name",
            "web,debug-threads=on",
            "-pidfile",
            pid_file,
            "-daemonize",
            "",
        ];
        fs::write(self.process().join("cmdline"), text.join("\0")).unwrap();
    }

    fn stat(&self, state: &str, started: u64) {
        self.write("4711/stat", &stat("kvm", state, 0, 0, started));
    }

    fn thread(&self, id: u32, name: &str, user: u64, system: u64) {
        let task = format!("{PID}/task/{id}");
        fs::create_dir_all(self.layout.proc().join(&task)).unwrap();
        self.write(&format!("{task}/comm"), &format!("{name}\n"));
        self.write(&format!("{task}/stat"), &stat(name, "R", user, system, 5));
    }

    fn find(&self) -> Result<Option<QemuProcess>, ReadError> {
        QemuProcess::find(&self.layout, self.vm)
    }
}

/// A line of proc(5) `stat`.
fn stat(name: &str, state: &str, user: u64, system: u64, started: u64) -> String {
    format!(
        "{PID} ({name}) {state} 1 2 3 0 -1 4194560 5 6 7 8 {user} {system} 9 9 20 0 3 0 {started} 100 200 300\n"
    )
}

#[test]
fn a_running_qemu_is_found_with_its_age() {
    let node = Node::new();
    let process = node.find().unwrap().unwrap();
    assert_eq!(process.pid(), PID);
    let age = ticks(200_000);
    assert_eq!(
        process.uptime().unwrap(),
        Duration::from_millis(5_000_500) - age
    );
}

#[test]
fn a_vm_without_pid_file_or_process_does_not_run() {
    let node = Node::new();
    fs::remove_dir_all(node.process()).unwrap();
    assert_eq!(node.find().unwrap(), None);
    fs::remove_file(node.layout.pid_file(node.vm)).unwrap();
    assert_eq!(node.find().unwrap(), None);
}

#[test]
fn a_number_that_another_process_got_is_not_the_vm() {
    let node = Node::new();
    for (program, pid_file) in [
        ("/usr/sbin/sshd", "/var/run/qemu-server/101.pid"),
        ("/usr/bin/kvm", "/var/run/qemu-server/102.pid"),
        ("/usr/bin/kvm", "/tmp/var/run/qemu-server/101.pid"),
        ("/usr/bin/qemu-img", "/var/run/qemu-server/101.pid"),
        ("", ""),
    ] {
        node.cmdline(program, pid_file);
        assert_eq!(node.find().unwrap(), None, "{program} {pid_file}");
    }
    fs::write(node.process().join("cmdline"), "/usr/bin/kvm\0-pidfile").unwrap();
    assert_eq!(node.find().unwrap(), None);
}

#[test]
fn under_another_root_the_pid_file_may_be_named_with_the_root() {
    let node = Node::new();
    let root = node.layout.root().to_str().unwrap().to_owned();
    for pid_file in ["var/run/qemu-server/101.pid", "run/qemu-server/101.pid"] {
        node.cmdline("qemu-system-x86_64", &format!("{root}/{pid_file}"));
        assert!(node.find().unwrap().is_some(), "{pid_file}");
    }
}

#[test]
fn a_zombie_does_not_run() {
    let node = Node::new();
    node.stat("Z", 200_000);
    assert_eq!(node.find().unwrap(), None);
}

#[test]
fn a_file_that_cannot_be_understood_is_unknown_and_not_stopped() {
    let node = Node::new();
    node.write("4711/stat", "4711 (kvm) S 1 2\n");
    let error = node.find().unwrap_err().to_string();
    assert!(error.contains("4711/stat"), "{error}");
    node.pid_file("-1\n");
    assert!(node.find().is_err());
}

#[test]
fn vcpu_threads_are_told_from_the_others_by_their_names() {
    let node = Node::new();
    node.thread(4711, "kvm", 900, 900);
    node.thread(4720, "CPU 1/KVM", 30, 12);
    node.thread(4719, "CPU 0/KVM", 100, 50);
    node.thread(4721, "CPU 2/TCG", 0, 0);
    node.thread(4722, "vnc_worker) R 1", 7, 7);
    let threads = node.find().unwrap().unwrap().vcpu_threads().unwrap();
    let seen: Vec<_> = threads
        .iter()
        .map(|t| (t.index, t.thread_id, t.time))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 4719, ticks(150)),
            (1, 4720, ticks(42)),
            (2, 4721, Duration::ZERO)
        ]
    );
}

#[test]
fn threads_of_a_process_that_ended_are_missing() {
    let node = Node::new();
    let process = node.find().unwrap().unwrap();
    fs::remove_dir_all(node.process()).unwrap();
    assert!(process.vcpu_threads().unwrap_err().is_missing());
}

#[test]
fn this_machines_own_files_can_be_read() {
    let stat = Stat::read(Path::new("/proc/self/stat")).unwrap();
    assert!(!stat.is_dead() && stat.started > 0);
}

proptest! {
    #[test]
    fn no_content_makes_it_panic(text in "(kvm\0-pidfile\0|1 \\(kvm\\) S )?[ -~\u{e9}\n\0()]{0,60}") {
        let layout = Layout::new("/");
        let _ = is_qemu_of(text.as_bytes(), &layout, "101".parse().unwrap());
        let _ = Stat::parse(&text);
        let _ = Uptime::from_read(text.as_bytes()).map(|uptime| uptime.uptime_duration());
    }
}
