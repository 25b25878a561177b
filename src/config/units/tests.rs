use super::*;

fn hint<T: Scalar + std::fmt::Debug>(text: &str) -> String {
    T::read(text).unwrap_err().unwrap_or_default()
}

#[test]
fn each_unit_reads_what_it_shows() {
    for text in ["512MiB", "4GiB", "1TiB", "1536MiB", "0MiB"] {
        assert_eq!(Mib::read(text).unwrap().show(), text);
    }
    for text in ["5s", "5m", "1h30m", "500ms", "24h", "0s"] {
        assert_eq!(Duration::read(text).unwrap().show(), text);
    }
    for text in ["80%", "92.5%", "0%", "100%", "33.33%"] {
        assert_eq!(Percent::read(text).unwrap().show(), text);
    }
    for text in ["4", "0.5", "0.125", "128"] {
        assert_eq!(Cores::read(text).unwrap().show(), text);
    }
}

#[test]
fn a_size_may_have_a_fraction_or_a_space_as_long_as_it_is_whole_mebibytes() {
    assert_eq!(Mib::read("1.5GiB"), Ok(Mib(1536)));
    assert_eq!(Mib::read("4 GiB"), Ok(Mib::gib(4)));
    assert_eq!(Mib::read("2048KiB"), Ok(Mib(2)));
    assert_eq!(
        hint::<Mib>("0.1GiB"),
        "sizes are whole mebibytes: write 103MiB"
    );
}

#[test]
fn a_size_without_a_clear_unit_is_refused_and_told_what_to_write() {
    assert_eq!(hint::<Mib>("4"), "write 4GiB");
    assert_eq!(hint::<Mib>("4096"), "write 4096MiB");
    assert_eq!(hint::<Mib>("8GB"), "write 8GiB");
    assert_eq!(hint::<Mib>("512M"), "write 512MiB");
    for bad in [
        "", "GiB", "-4GiB", "4..5GiB", "1e3MiB", "infGiB", "4GiBs", "٤GiB",
    ] {
        assert_eq!(Mib::read(bad), Err(None), "{bad:?}");
    }
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    assert_eq!(hint::<Duration>("300"), "write 300s or 300m");
    assert_eq!(hint::<Duration>("1d"), "write 24h");
    for bad in [
        "",
        "s",
        "-5s",
        "5x",
        "5s ago",
        "PT5S",
        "99999999999999999999s",
    ] {
        assert_eq!(Duration::read(bad), Err(None), "{bad:?}");
    }
}

#[test]
fn a_bare_number_is_no_percentage_and_a_percentage_no_number_of_cores() {
    assert_eq!(hint::<Percent>("80"), "write 80%");
    assert_eq!(hint::<Percent>("0.8"), "write 80%");
    assert_eq!(Percent::read("180%"), Err(None));
    assert_eq!(hint::<Cores>("200%"), "write 2");
    assert_eq!(hint::<Cores>("4 cores"), "write 4");
    assert_eq!(Cores::read("0.0005"), Err(None));
    assert_eq!(Cores::read("99999999999"), Err(None));
}

#[test]
fn a_pace_is_a_percentage_or_has_no_end() {
    assert_eq!(Pace::read("unlimited"), Ok(Pace(None)));
    let half = Pace(Some(Percent::whole(50)));
    assert_eq!(Pace::read("50%"), Ok(half));
    assert_eq!(half.show(), "50%");
    assert_eq!(hint::<Pace>("50"), "write 50%");
    assert_eq!(hint::<Pace>("unlimted"), "did you mean unlimited?");
    for bad in ["0%", "-5%", "150%", "none", ""] {
        assert_eq!(Pace::read(bad), Err(None), "{bad:?}");
    }
}

#[test]
fn a_tag_has_the_form_that_proxmox_accepts() {
    assert_eq!(Tag::read("AutoScale"), Ok(Tag("autoscale".to_owned())));
    for bad in ["", "-x", "a b", "a;b", "größe"] {
        assert_eq!(Tag::read(bad), Err(None), "{bad:?}");
    }
    assert_eq!(hint::<ProfileName>("Big Ones"), "write big-ones");
}

proptest::proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same(mib in 0..1_u64 << 22, milli in 0..4_096_000_u32, ms in 0..86_400_000_u64, part in 0..=10_000_u32) {
        assert_eq!(Mib::read(&Mib(mib).show()), Ok(Mib(mib)));
        assert_eq!(Cores::read(&Cores::milli(milli).show()), Ok(Cores::milli(milli)));
        let duration = Duration::from_millis(ms);
        assert_eq!(Duration::read(&duration.show()), Ok(duration));
        let percent = Percent::from_fraction(f64::from(part) / 10_000.0);
        assert_eq!(Percent::read(&percent.show()), Ok(percent));
    }
}
