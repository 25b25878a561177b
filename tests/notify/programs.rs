//! Channels that are programs: Proxmox VE's mail forwarder, and a command of the admin's.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use vm_autoscale::notify::{Answer, Command, Kind, Pve, Surroundings, test as test_channels};

use super::{answer, answer_within, around, only, refused, tell_through};

/// A directory that nobody else can write to, which excludes /tmp, and a program in it.
fn program(script: &str) -> Option<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for parent in dir.path().ancestors() {
        if parent.metadata().unwrap().permissions().mode() & 0o022 != 0 {
            eprintln!("SKIPPED: {} can be written by others", parent.display());
            return None;
        }
    }
    let path = dir.path().join("hook");
    write(&path, script);
    Some((dir, path))
}

fn write(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn command(program: &Path, args: &[&str]) -> Kind {
    Kind::Command(Command {
        program: program.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    })
}

#[tokio::test]
async fn a_command_gets_the_message_as_json_and_its_arguments_as_they_are() {
    let Some((dir, hook)) = program(r#"cat > "$1"; printf %s "$2" > "$1.arg""#) else {
        return;
    };
    let out = dir.path().join("out");
    let spool = tempfile::tempdir().unwrap();
    let settings = only(command(
        &hook,
        &[out.to_str().unwrap(), "$(id) `id` ; rm -rf x"],
    ));
    let hostile = refused(101, "$(reboot)\n; reboot", "no");
    tell_through(&settings, spool.path(), &[hostile]).await;
    let message: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(message["events"][0]["vm"]["name"], "$(reboot)?; reboot");
    assert_eq!(message["node"], "pve1");
    let arg = fs::read_to_string(dir.path().join("out.arg")).unwrap();
    assert_eq!(arg, "$(id) `id` ; rm -rf x");
}

#[tokio::test]
async fn the_exit_code_says_what_to_do() {
    let Some((_dir, hook)) = program(r#"printf 'b\303\303d\n' >&2; exit "$1""#) else {
        return;
    };
    assert_eq!(answer(command(&hook, &["0"])).await, Answer::Delivered);
    assert!(matches!(
        answer(command(&hook, &["75"])).await,
        Answer::Retry { unsure: false, .. }
    ));
    let rejected = answer(command(&hook, &["3"])).await;
    let Answer::Rejected { why } = rejected else {
        panic!("{rejected:?}")
    };
    assert!(
        why.ends_with("ended with exit code 3: b\u{fffd}\u{fffd}d"),
        "{why}"
    );
}

#[tokio::test]
async fn a_command_that_hangs_is_stopped_with_all_its_children() {
    let Some((dir, hook)) = program(r#"sleep 600 & echo $! > "$1"; wait"#) else {
        return;
    };
    let pid = dir.path().join("pid");
    let kind = command(&hook, &[pid.to_str().unwrap()]);
    let answer = answer_within(kind, Duration::from_secs(1)).await;
    assert!(
        matches!(&answer, Answer::Retry { unsure: true, .. }),
        "{answer:?}"
    );
    let child = fs::read_to_string(&pid).unwrap();
    super::eventually("the child is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn a_command_that_others_can_write_is_not_started() {
    let Some((dir, hook)) = program(r#"touch "$1""#) else {
        return;
    };
    fs::set_permissions(&hook, Permissions::from_mode(0o777)).unwrap();
    let mark = dir.path().join("mark");
    let Answer::Refused { why } = answer(command(&hook, &[mark.to_str().unwrap()])).await else {
        panic!("it must be refused");
    };
    assert!(why.contains("can be written by others"), "{why}");
    assert!(!mark.exists());
}

#[tokio::test]
async fn proxmox_gets_a_mail_to_root_wherever_its_forwarder_is() {
    for place in ["usr/libexec", "usr/bin"] {
        let root = tempfile::tempdir().unwrap();
        let forwarder = root.path().join(place);
        fs::create_dir_all(&forwarder).unwrap();
        let mail = root.path().join("mail");
        write(
            &forwarder.join("proxmox-mail-forward"),
            &format!("cat > {}", mail.display()),
        );
        let around = Surroundings {
            root: root.path().to_owned(),
            ..around()
        };
        let settings = only(Kind::Pve(Pve::default()));
        let answers = test_channels(&settings, None, &around).await.unwrap();
        assert_eq!(answers[0].1, Answer::Delivered);
        let mail = fs::read_to_string(mail).unwrap();
        assert!(
            mail.contains("Subject: [pve1] Test: the channel x works\r\n"),
            "{mail}"
        );
        assert!(mail.contains("root@pve1"), "{mail}");
    }
}

#[tokio::test]
async fn a_node_without_the_forwarder_says_what_to_install() {
    let root = tempfile::tempdir().unwrap();
    let around = Surroundings {
        root: root.path().to_owned(),
        ..around()
    };
    let answers = test_channels(&only(Kind::Pve(Pve::default())), None, &around)
        .await
        .unwrap();
    assert!(
        answers[0]
            .1
            .why()
            .unwrap()
            .contains("install the package proxmox-mail-forward")
    );
}
