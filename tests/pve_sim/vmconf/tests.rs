use super::*;

fn parsed(text: &str) -> VmConfig {
    let (config, warnings) = VmConfig::parse(101, text);
    assert_eq!(
        warnings,
        Vec::<String>::new(),
        "unexpected warnings for {text:?}"
    );
    config
}

#[test]
fn a_file_in_pves_own_form_is_written_back_unchanged() {
    let text = "#first line%3A 50%25\n#second\ncores: 4\nmemory: 2048\nname: web\n\n[PENDING]\ncores: 8\n\
                delete: vcpus,!net0\n\n[special:cloudinit]\nname: old\n\n[before-upgrade]\n#why\ncores: 2\n\
                snaptime: 1795499141\n";
    assert_eq!(parsed(text).to_string(), text);
}

#[test]
fn keys_are_sorted_and_values_brought_into_pves_form() {
    let config = parsed("vcpus: 02\nonboot: Yes\ncores:4  \ncpulimit: 0.50\n");
    assert_eq!(
        config.to_string(),
        "cores: 4\ncpulimit: 0.50\nonboot: 1\nvcpus: 2\n"
    );
}

#[test]
fn a_value_of_blanks_only_is_one_blank() {
    assert_eq!(parsed("boot: \n").to_string(), "boot:  \n");
    assert_eq!(parsed("boot:  \n").to_string(), "boot:  \n");
}

#[test]
fn unknown_keys_and_broken_values_are_dropped_with_a_warning() {
    let (config, warnings) = VmConfig::parse(
        101,
        "colour: red\ncores: many\nvcpus 2\ndelete: x\nnuma: 1\n",
    );
    assert_eq!(config.to_string(), "numa: 1\n");
    assert_eq!(
        warnings,
        [
            "vm 101 - unable to parse value of 'colour' - unknown setting 'colour'",
            "vm 101 - unable to parse value of 'cores' - type check ('integer') failed - got 'many'",
            "vm 101 - unable to parse config: vcpus 2",
            "vm 101 - property 'delete' is only allowed in [PENDING]",
        ]
    );
}

#[test]
fn sections_are_found_in_any_case_and_unknown_ones_are_skipped() {
    let (config, warnings) = VmConfig::parse(
        101,
        "cores: 1\n[pending]\ncores: 2\n[Snap_1]\ncores: 3\n[what?]\ncores: 4\n",
    );
    assert_eq!(config.get("cores"), Some("1"));
    assert_eq!(config.pending["cores"], "2");
    assert_eq!(config.snapshots["Snap_1"]["cores"], "3");
    assert_eq!(warnings, ["vm 101 - skipping unknown section: 'what?'"]);
}

#[test]
fn what_is_shown_by_default_includes_what_is_pending() {
    let config = parsed(
        "balloon: 0\ncores: 4\nname: web\nvcpus: 2\n[PENDING]\ncores: 8\ndelete: balloon,vcpus\n",
    );
    let shown: Vec<String> = config
        .with_pending()
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(shown, ["balloon=0", "cores=8", "name=web"]);
}

#[test]
fn pending_entries_that_change_nothing_go_away() {
    let mut config = parsed("cores: 4\n[PENDING]\ncores: 4\nvcpus: 2\ndelete: balloon\n");
    assert!(config.cleanup_pending());
    assert_eq!(
        config.pending,
        Keys::from([("vcpus".to_owned(), "2".to_owned())])
    );
    assert!(!config.cleanup_pending());
}

#[test]
fn smp_becomes_sockets_and_takes_cores_along() {
    assert_eq!(parsed("cores: 4\nsmp: 2\n").to_string(), "sockets: 2\n");
    assert_eq!(
        parsed("cores: 4\nsmp: 2\nsockets: 3\n").to_string(),
        "cores: 4\nsockets: 3\n"
    );
}

#[test]
fn hotplug_1_means_neither_cpu_nor_memory() {
    let config = parsed("hotplug: 1\n");
    assert!(config.hotplugs("disk") && !config.hotplugs("cpu") && !config.hotplugs("memory"));
    assert!(parsed("hotplug: cpu;memory\n").hotplugs("memory"));
    assert!(!parsed("hotplug: 0\n").hotplugs("disk"));
}

#[test]
fn memory_may_be_bare_or_named() {
    assert_eq!(parsed("memory: current=4096\n").memory_mib(), 4096);
    assert_eq!(parsed("memory: 4096\n").memory_mib(), 4096);
    assert_eq!(parsed("cores: 1\n").memory_mib(), 512);
}

#[test]
fn device_keys_have_numbers_within_their_range() {
    for known in [
        "net0",
        "net31",
        "scsi30",
        "numa7",
        "virtiofs9",
        "efidisk0",
        "allow-ksm",
    ] {
        assert!(schema::rule(known).is_some(), "{known}");
    }
    for unknown in ["net32", "net00", "net", "efidisk1", "numa8", "vcpus1", ""] {
        assert!(schema::rule(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn a_description_survives_a_round_trip_with_any_character() {
    let mut config = VmConfig::default();
    config.active.insert(
        "description".to_owned(),
        "100 % größer: ja\n\tEnde".to_owned(),
    );
    assert_eq!(parsed(&config.to_string()), config);
}
