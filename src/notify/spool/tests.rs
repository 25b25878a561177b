//! The spool's promises: what was told is there after any end of the process.

use std::time::Duration;

use super::*;
use crate::notify::testing::{AT, degraded, recovered, refused, shared};

fn to(channels: &[&str]) -> BTreeSet<String> {
    channels.iter().map(|name| (*name).to_owned()).collect()
}

/// Tells one event to these channels and returns its number.
fn tell(spool: &mut Spool, channels: &[&str]) -> u64 {
    let id = spool.number(AT);
    spool.told(id, &shared(refused(101, "no")), to(channels));
    id
}

/// The channel `phone` has dealt with these, and has dropped so many warnings of which it has not told.
fn phone(ids: &[u64], dropped: u32) -> Vec<Dealt<'static>> {
    let warnings = (dropped > 0).then_some((Severity::Warning, dropped));
    vec![Dealt {
        channel: "phone",
        ids: ids.to_vec(),
        dropped: warnings.into_iter().collect(),
    }]
}

fn ids(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.id).collect()
}

#[test]
fn what_was_told_and_not_delivered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    let sent = tell(&mut spool, &["phone", "mail"]);
    let begun = tell(&mut spool, &["phone"]);
    let waiting = tell(&mut spool, &["phone"]);
    spool.trying("phone", vec![sent]);
    spool.done(phone(&[sent], 0));
    spool.trying("phone", vec![begun]);
    for event in [
        degraded("quorum", "no quorum"),
        degraded("ntp", "no time"),
        recovered("ntp", Duration::from_secs(9)),
    ] {
        let id = spool.number(AT);
        spool.told(id, &shared(event), to(&["phone"]));
        spool.done(phone(&[id], 0));
    }

    let spool = Spool::open(dir.path());
    let phone = spool.left("phone");
    assert_eq!(ids(&phone.begun), [begun]);
    assert_eq!(ids(&phone.waiting), [waiting]);
    assert_eq!(phone.open, to(&["quorum"]));
    assert_eq!(*phone.waiting[0].event, refused(101, "no"));
    assert_eq!(ids(&spool.left("mail").waiting), [sent]);
    assert_eq!(spool.left("other"), Left::default());
    let again = Spool::open(dir.path());
    assert_eq!(again.left("phone").open, to(&["quorum"]));
}

#[test]
fn what_was_dropped_is_counted_over_restarts_until_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    let ids: Vec<u64> = (0..3).map(|_| tell(&mut spool, &["phone"])).collect();
    spool.done(phone(&ids[..1], 1));
    spool.done(phone(&ids[1..2], 2));

    let mut spool = Spool::open(dir.path());
    assert_eq!(spool.left("phone").dropped[&Severity::Warning], 2);
    assert!(spool.left("mail").dropped.is_empty());
    let size = spool.size;
    spool.done(phone(&[], 2));
    assert_eq!(spool.size, size, "nothing new, nothing written");
    spool.done(phone(&ids[2..], 0));

    let left = Spool::open(dir.path()).left("phone");
    assert_eq!(left, Left::default());
}

#[test]
fn numbers_rise_over_restarts_and_clocks_that_are_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    let first = tell(&mut spool, &["phone"]);
    let mut spool = Spool::open(dir.path());
    let second = spool.number(AT - Duration::from_secs(3600));
    let third = spool.number(AT);
    assert!(first < second && second < third);
}

#[test]
fn a_file_cut_anywhere_loses_at_most_the_line_that_was_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    let all: Vec<u64> = (0..2).map(|_| tell(&mut spool, &["phone"])).collect();
    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    for cut in 0..=bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), &bytes[..cut]).unwrap();
        let whole = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
        let left = Spool::open(dir.path()).left("phone");
        assert_eq!(ids(&left.waiting), all[..whole], "cut at {cut}");
        assert!(!dir.path().join("notify.damaged").exists());
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_what_can_be_read_of_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    let mut spool = Spool::open(dir.path());
    let first = tell(&mut spool, &["phone"]);
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend(b"\xff\0garbage\n{\"told\":{}}\n[1]\n");
    fs::write(&file, &bytes).unwrap();
    let left = Spool::open(dir.path()).left("phone");
    assert_eq!(ids(&left.waiting), [first]);
    assert_eq!(fs::read(dir.path().join("notify.damaged")).unwrap(), bytes);
}

#[test]
fn the_file_stays_small_however_much_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    let mut largest = 0;
    for _ in 0..5_000 {
        let id = tell(&mut spool, &["phone"]);
        spool.done(phone(&[id], 0));
        largest = largest.max(spool.size);
    }
    let size = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(
        size <= LARGE + 4096 && largest <= LARGE + 4096,
        "{size} {largest}"
    );
}

#[test]
fn nobody_else_can_read_what_happened_on_the_node() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(Spool::open(dir.path()));
    let mode = fs::metadata(dir.path().join(FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn without_a_directory_the_telling_goes_on() {
    let mut spool = Spool::open(Path::new("/nonexistent/spool"));
    let id = tell(&mut spool, &["phone"]);
    assert_eq!(ids(&spool.left("phone").waiting), [id]);
}

#[test]
fn what_waits_for_a_channel_that_was_removed_is_counted_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path());
    tell(&mut spool, &["phone"]);
    let both = tell(&mut spool, &["phone", "mail"]);
    assert_eq!(spool.keep_only(&to(&["mail"])), 1);
    let spool = Spool::open(dir.path());
    assert_eq!(ids(&spool.left("mail").waiting), [both]);
    assert_eq!(spool.left("phone"), Left::default());
}
