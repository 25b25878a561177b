//! The model against what was recorded of the real pmxcfs, and against what its source says.

use super::*;

fn three() -> Cluster {
    Cluster::new(&["pve1", "pve2", "pve3"])
}

fn mkdir(cluster: &mut Cluster, node: usize, path: &str) -> Result<(), Errno> {
    cluster.change(
        node,
        Change::MakeDir {
            path: path.to_owned(),
        },
        0,
    )
}

fn write(cluster: &mut Cluster, node: usize, path: &str, text: &str) {
    cluster
        .change(
            node,
            Change::Create {
                path: path.to_owned(),
            },
            0,
        )
        .unwrap();
    let data = text.as_bytes().to_vec();
    cluster
        .change(
            node,
            Change::Write {
                path: path.to_owned(),
                offset: 0,
                data,
            },
            0,
        )
        .unwrap();
}

#[test]
fn a_node_sees_its_own_change_at_once_and_another_one_later() {
    let mut cluster = three();
    mkdir(&mut cluster, 0, "vm-autoscale").unwrap();
    assert!(cluster.entry(0, "vm-autoscale").is_some());
    assert!(cluster.entry(1, "vm-autoscale").is_none());
    cluster.deliver(1, 1);
    assert!(cluster.entry(1, "vm-autoscale").is_some());
}

#[test]
fn of_two_nodes_that_make_the_same_directory_one_is_told_that_it_exists() {
    let mut cluster = three();
    assert_eq!(mkdir(&mut cluster, 0, "priv/lock/x"), Ok(()));
    assert_eq!(mkdir(&mut cluster, 1, "priv/lock/x"), Err(Errno::Exist));
}

#[test]
fn without_quorum_everything_is_read_and_nothing_is_changed() {
    let mut cluster = three();
    write(
        &mut cluster,
        0,
        "nodes/pve1/qemu-server/101.conf",
        "cores: 1\n",
    );
    cluster.set_partition(0, 1);
    // Recorded in 60-noquorum-fs.txt: errno 13 for each of them, reading goes on.
    assert_eq!(mkdir(&mut cluster, 0, "vm-autoscale"), Err(Errno::Acces));
    assert!(
        cluster
            .entry(0, "nodes/pve1/qemu-server/101.conf")
            .is_some()
    );
    assert!(cluster.is_quorate(1) && cluster.is_quorate(2));
    assert_eq!(mkdir(&mut cluster, 1, "vm-autoscale"), Ok(()));
    cluster.deliver(0, 9);
    assert!(cluster.entry(0, "vm-autoscale").is_none(), "it is cut off");
    cluster.set_partition(0, 0);
    assert!(
        cluster.entry(0, "vm-autoscale").is_some(),
        "and catches up when it is back"
    );
}

#[test]
fn a_vm_has_one_configuration_and_a_late_writer_on_the_old_node_is_refused() {
    let mut cluster = three();
    let (here, there) = (
        "nodes/pve1/qemu-server/101.conf",
        "nodes/pve2/qemu-server/101.conf",
    );
    write(&mut cluster, 0, here, "cores: 1\n");
    cluster.deliver(1, 9);
    let rename = Change::Rename {
        from: here.to_owned(),
        to: there.to_owned(),
    };
    assert_eq!(cluster.change(1, rename, 0), Ok(()));
    write(
        &mut cluster,
        0,
        "nodes/pve1/qemu-server/101.conf.tmp",
        "cores: 2\n",
    );
    let late = Change::Rename {
        from: format!("{here}.tmp"),
        to: here.to_owned(),
    };
    assert_eq!(cluster.change(0, late, 0), Err(Errno::Exist));
    assert_eq!(cluster.agreed().text(there).as_deref(), Some("cores: 1\n"));
}

#[test]
fn a_lock_lives_as_long_as_its_node_refreshes_it_and_120_s_more() {
    let mut cluster = three();
    let lock = "priv/lock/vm-autoscale-sweep";
    let touch = |mtime_s| Change::SetTime {
        path: lock.to_owned(),
        mtime_s,
    };
    mkdir(&mut cluster, 0, lock).unwrap();
    cluster.deliver(1, 9);
    assert_eq!(
        cluster.change(1, touch(50), 50),
        Err(Errno::Acces),
        "another node does not hold it"
    );
    cluster.set_time(100_000);
    assert_eq!(cluster.change(0, touch(100), 100), Ok(()));
    cluster.set_time(219_000);
    // Recorded: utime(0, 0) answers EACCES, whatever comes of it.
    assert_eq!(cluster.change(1, touch(0), 219), Err(Errno::Acces));
    assert!(
        cluster.agreed().get(lock).is_some(),
        "119 s after the refresh it stands"
    );
    cluster.set_time(221_000);
    assert_eq!(cluster.change(1, touch(0), 221), Err(Errno::Acces));
    assert!(
        cluster.agreed().get(lock).is_none(),
        "121 s after the refresh it does not"
    );
}

#[test]
fn files_end_at_a_mebibyte_and_directories_with_content_stay() {
    let mut cluster = three();
    mkdir(&mut cluster, 0, "d").unwrap();
    write(&mut cluster, 0, "d/f", "x");
    let big = Change::Write {
        path: "d/f".into(),
        offset: 1024 * 1024,
        data: vec![0],
    };
    assert_eq!(cluster.change(0, big, 0), Err(Errno::FBig));
    assert_eq!(
        cluster.change(0, Change::RemoveDir { path: "d".into() }, 0),
        Err(Errno::NotEmpty)
    );
    let rename = Change::Rename {
        from: "d".into(),
        to: "e".into(),
    };
    assert_eq!(cluster.change(0, rename, 0), Err(Errno::NotEmpty));
}

#[test]
fn the_made_up_files_tell_each_node_what_it_can_know() {
    let mut cluster = three();
    write(
        &mut cluster,
        0,
        "nodes/pve1/qemu-server/101.conf",
        "cores: 1\n",
    );
    assert!(cluster.made_up(0, ".vmlist").unwrap().contains("\"101\""));
    assert!(
        !cluster.made_up(1, ".vmlist").unwrap().contains("\"101\""),
        "it has not heard of it yet"
    );
    cluster.set_partition(2, 1);
    assert!(
        cluster
            .made_up(2, ".members")
            .unwrap()
            .contains("\"quorate\": 0")
    );
    assert!(
        cluster
            .made_up(0, ".members")
            .unwrap()
            .contains("\"quorate\": 1")
    );
}

#[test]
fn a_change_that_nobody_else_received_is_gone_when_its_node_comes_back() {
    let mut cluster = three();
    mkdir(&mut cluster, 0, "seen-by-all").unwrap();
    cluster.deliver(1, 1);
    mkdir(&mut cluster, 0, "seen-by-one").unwrap();
    cluster.cut_off_abruptly(0, 1);
    assert!(cluster.entry(0, "seen-by-one").is_some(), "it believes so");
    mkdir(&mut cluster, 1, "later").unwrap();
    cluster.set_partition(0, 0);
    assert!(cluster.entry(0, "seen-by-one").is_none());
    assert!(cluster.entry(0, "seen-by-all").is_some() && cluster.entry(0, "later").is_some());
}

#[test]
fn a_file_that_is_written_in_place_is_empty_for_a_moment() {
    // Recorded in pmxcfs-semantics.txt: a truncate is a change of its own, and readers come in between.
    let mut cluster = three();
    write(&mut cluster, 0, "storage.cfg", "dir: local\n");
    let cut = |size| Change::Truncate {
        path: "storage.cfg".to_owned(),
        size,
    };
    assert_eq!(cluster.change(0, cut(0), 0), Ok(()));
    cluster.deliver(1, 9);
    let seen = cluster.entry(1, "storage.cfg").unwrap();
    assert_eq!(seen.data.as_deref(), Some(&b""[..]));
    assert_eq!(cluster.change(0, cut(2 << 20), 0), Err(Errno::FBig));
}
