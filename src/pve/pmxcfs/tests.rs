use std::os::unix::fs::symlink;

use super::*;

/// A node's /etc/pve as far as these functions look at it, under a root of its own.
fn node() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    fs::create_dir_all(layout.pve().join("nodes/vm/qemu-server")).unwrap();
    symlink("nodes/vm", layout.pve_local()).unwrap();
    let recording = |name: &str| {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings/samples-base");
        fs::read(base.join(name)).unwrap()
    };
    fs::write(layout.version(), recording("etc-pve-version.txt")).unwrap();
    fs::write(layout.members(), recording("etc-pve-members.txt")).unwrap();
    (dir, layout)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn quorum_is_unknown_while_nothing_is_mounted() {
    let (_dir, layout) = node();
    assert!(quorate(&layout).unwrap());
    fs::remove_file(layout.version()).unwrap();
    assert!(matches!(
        quorate(&layout),
        Err(PmxcfsError::NotMounted { .. })
    ));
}

#[test]
fn a_cluster_that_says_it_is_not_quorate_is_believed() {
    let (_dir, layout) = node();
    let text =
        r#"{"nodename":"vm","version":2,"cluster":{"name":"c","version":1,"nodes":2,"quorate":0}}"#;
    fs::write(layout.members(), text).unwrap();
    assert!(!quorate(&layout).unwrap());
    fs::write(layout.members(), "{").unwrap();
    assert!(quorate(&layout).is_err());
}

#[test]
fn the_root_disk_is_not_taken_for_the_cluster_file_system() {
    // The machine that runs this test is no Proxmox VE node, or has it mounted: both are told correctly.
    let fuse = statfs("/etc/pve").is_ok_and(|stat| stat.filesystem_type() == FUSE_SUPER_MAGIC);
    assert_eq!(check_mounted(&Layout::new("/")).is_ok(), fuse);
}

#[test]
fn a_config_is_gone_only_if_it_stays_away_and_the_file_system_is_there() {
    let (_dir, layout) = node();
    let (name, vm) = (layout.node_name().unwrap(), "101".parse().unwrap());
    assert_eq!(read_vm_config(&layout, &name, vm).unwrap(), None);
    fs::write(layout.vm_config(&name, vm), "cores: 2\n").unwrap();
    let text = read_vm_config(&layout, &name, vm).unwrap();
    assert_eq!(text.as_deref(), Some("cores: 2\n"));
    fs::remove_dir_all(layout.pve()).unwrap();
    assert!(matches!(
        read_vm_config(&layout, &name, vm),
        Err(PmxcfsError::NotMounted { .. })
    ));
}

#[test]
fn a_config_that_comes_back_while_it_is_looked_for_was_never_gone() {
    let missing = || ReadError::Io {
        path: "101.conf".into(),
        error: io::Error::from_raw_os_error(nix::libc::ENOENT),
    };
    // Recorded in pmxcfs-rename-race.txt: five times absent in a row, then there.
    let (mut looks, mut pauses) = (0, 0);
    let read = || {
        looks += 1;
        if looks <= 5 {
            Err(missing())
        } else {
            Ok("cores: 2")
        }
    };
    let text = look_again(read, || pauses += 1).unwrap();
    assert_eq!((text, looks, pauses), (Some("cores: 2"), 6, 5));

    let mut looks = 0;
    let never = || {
        looks += 1;
        Err::<&str, _>(missing())
    };
    assert_eq!(look_again(never, || ()).unwrap(), None);
    assert_eq!(looks, CONFIG_TRIES);
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
    let (_dir, layout) = node();
    let path = layout.shared_dir().join("vms/101.json");
    replace(&layout, &path, b"{\"a\":1}").unwrap();
    replace(&layout, &path, b"{}").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{}");
    assert_eq!(names(path.parent().unwrap()), ["101.json"]);
}

#[test]
fn a_refused_replacement_names_the_file_and_clears_up() {
    let (_dir, layout) = node();
    let path = layout.shared_dir().join("pause");
    // A directory that is not empty cannot be replaced by a file.
    fs::create_dir_all(path.join("x")).unwrap();
    let error = replace(&layout, &path, b"x").unwrap_err().to_string();
    assert!(error.contains("etc/pve/vm-autoscale/pause"), "{error}");
    assert_eq!(names(&layout.shared_dir()), ["pause"]);
}

#[test]
fn a_temporary_file_of_a_killed_process_is_in_nobodys_way() {
    let (_dir, layout) = node();
    let path = layout.pve().join("x.tmp.1.1");
    fs::write(&path, "torn").unwrap();
    write_new(&path, b"whole").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
}

#[test]
fn nothing_is_written_outside_or_while_unmounted_or_above_the_limit() {
    let (dir, layout) = node();
    for outside in [
        dir.path().join("etc/x"),
        layout.pve(),
        layout.pve().join("../x"),
        layout.pve().join("a/../../../x"),
    ] {
        let result = replace(&layout, &outside, b"x");
        assert!(
            matches!(result, Err(PmxcfsError::Outside { .. })),
            "{outside:?}"
        );
    }
    let path = layout.shared_dir().join("pause");
    let large = vec![0; FILE_MAX as usize + 1];
    assert!(matches!(
        replace(&layout, &path, &large),
        Err(PmxcfsError::TooLarge { .. })
    ));
    fs::remove_file(layout.version()).unwrap();
    assert!(matches!(
        replace(&layout, &path, b"x"),
        Err(PmxcfsError::NotMounted { .. })
    ));
    assert!(!layout.shared_dir().exists());
}

#[test]
fn a_write_refused_for_want_of_quorum_says_so() {
    let error = PmxcfsError::Write {
        path: "/etc/pve/vm-autoscale/pause".into(),
        error: io::Error::from_raw_os_error(nix::libc::EACCES),
    };
    assert!(error.to_string().contains("no quorum"), "{error}");
}
