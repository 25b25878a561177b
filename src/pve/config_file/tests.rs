use proptest::prelude::*;

use super::*;

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/recordings/", $name))
    };
}

#[test]
fn a_recorded_running_vm_is_read_as_it_is() {
    let config = VmConfig::parse(recording!("samples-base/101.conf"));
    assert_eq!(config.problems, Vec::<String>::new());
    assert_eq!(config.name.as_str(), "web");
    assert_eq!((config.sockets, config.cores), (1, 4));
    assert_eq!((config.max_vcpus(), config.plugged_vcpus()), (4, 1));
    assert_eq!(config.memory, Mib(2048));
    assert_eq!(config.balloon, Some(Mib(1024)));
    assert_eq!(config.shares, None);
    assert!(config.has_balloon() && config.numa && !config.custom_numa);
    assert!(config.hotplug.contains(&Hotplug::Cpu));
    assert!(config.hotplug.contains(&Hotplug::Memory));
    assert_eq!(config.ostype, "l26");
    assert!(config.lock.is_none() && !config.template && config.pending.is_empty());
}

#[test]
fn the_uuid_tells_a_vm_from_the_next_one_with_its_number() {
    let recorded = VmConfig::parse(recording!("samples-base/101.conf"));
    let uuid = "1daaa778-c77d-46cc-87b2-f41dd36b8113";
    assert_eq!(recorded.uuid.as_deref(), Some(uuid));
    let read = |value: &str| VmConfig::parse(&format!("smbios1: {value}\n"));
    let shouted = read(&format!(
        "base64=1,family=YQ==,uuid={}",
        uuid.to_uppercase()
    ));
    assert_eq!(shouted.uuid.as_deref(), Some(uuid));
    for none in ["base64=1", "uuid=", "uuid=1daaa778", uuid] {
        let config = read(none);
        assert_eq!((config.uuid, config.problems), (None, Vec::new()), "{none}");
    }
}

#[test]
fn a_recorded_vm_without_balloon_device_has_all_its_vcpus() {
    let config = VmConfig::parse(recording!("samples-base/102.conf"));
    assert_eq!(config.problems, Vec::<String>::new());
    assert!(!config.has_balloon());
    assert_eq!(config.vcpus, None);
    assert_eq!(config.plugged_vcpus(), 2);
    assert!(!config.hotplug.contains(&Hotplug::Cpu));
}

#[test]
fn tags_and_templates_are_seen_in_the_recordings() {
    let idle = VmConfig::parse(recording!("samples-base/103.conf"));
    assert_eq!(idle.tags, ["autoscale", "lab"]);
    assert!(VmConfig::parse(recording!("samples-base/104.conf")).template);
}

#[test]
fn a_pending_value_is_named_but_is_not_the_running_one() {
    let config = VmConfig::parse(recording!("07-config-file-with-PENDING.conf"));
    assert_eq!(config.cores, 4);
    assert_eq!(config.pending, ["cores"]);
    let config = VmConfig::parse(recording!("19-config-after.conf"));
    assert_eq!((config.memory, config.vcpus), (Mib(3072), Some(2)));
    assert_eq!(config.pending, ["memory", "vcpus"]);
}

#[test]
fn a_recorded_backup_lock_is_seen() {
    let config = VmConfig::parse(recording!("30-config-locked.conf"));
    assert_eq!(config.lock.as_deref(), Some("backup"));
}

#[test]
fn absent_keys_have_proxmoxs_defaults() {
    let config = VmConfig::parse("name: bare\n");
    assert_eq!(
        (config.sockets, config.cores, config.memory),
        (1, 1, Mib(512))
    );
    assert_eq!(config.plugged_vcpus(), 1);
    assert!(config.has_balloon() && config.shares.is_none() && config.cpulimit.is_none());
    assert!(!config.hotplug.contains(&Hotplug::Cpu));
    assert_eq!(config.ostype, "other");
}

#[test]
fn hotplug_1_is_the_default_and_0_is_nothing() {
    assert_eq!(
        VmConfig::parse("hotplug: 1").hotplug,
        VmConfig::parse("name: x").hotplug
    );
    assert!(VmConfig::parse("hotplug: 0").hotplug.is_empty());
    assert_eq!(
        VmConfig::parse("hotplug: cpu;memory").hotplug,
        [Hotplug::Cpu, Hotplug::Memory].into()
    );
}

#[test]
fn both_forms_of_memory_and_the_legacy_smp_are_read() {
    assert_eq!(VmConfig::parse("memory: current=4096").memory, Mib(4096));
    assert_eq!(VmConfig::parse("memory: 4096").memory, Mib(4096));
    assert_eq!(VmConfig::parse("smp: 2\ncores: 3").max_vcpus(), 6);
    assert_eq!(VmConfig::parse("smp: 2\nsockets: 4").sockets, 4);
}

#[test]
fn a_snapshots_values_and_description_are_not_the_running_ones() {
    let text = "#lock: backup\ncores: 2\nmemory: 1024\n\n[PENDING]\ndelete: vcpus,!balloon\nmemory: 2048\n\n\
                [before-upgrade]\n#cores: 9\ncores: 16\nlock: snapshot\nnonsense\nsnaptime: 1\n\
                [special:cloudinit]\ncores: 7\n[what is this]\ncores: 8\n";
    let config = VmConfig::parse(text);
    assert_eq!(config.problems, Vec::<String>::new());
    assert_eq!((config.cores, config.memory), (2, Mib(1024)));
    assert_eq!(config.lock, None);
    assert_eq!(config.pending, ["balloon", "memory", "vcpus"]);
}

#[test]
fn tags_take_any_separator_and_lose_case_and_doubles() {
    let config = VmConfig::parse("tags: Web,autoscale; AUTOSCALE  db-1");
    assert_eq!(config.tags, ["autoscale", "db-1", "web"]);
    assert!(!VmConfig::parse("tags: ok;<b>").problems.is_empty());
}

#[test]
fn booleans_and_property_strings_take_all_their_forms() {
    for yes in ["1", "on", "Yes", "TRUE"] {
        assert!(VmConfig::parse(&format!("numa: {yes}")).numa, "{yes}");
    }
    assert!(VmConfig::parse("agent: 1,fstrim_cloned_disks=1").agent);
    assert!(VmConfig::parse("agent: type=isa,enabled=1").agent);
    assert!(!VmConfig::parse("agent: enabled=0").agent);
    let machine = |text| VmConfig::parse(text).machine;
    assert_eq!(machine("machine: q35,viommu=intel").as_deref(), Some("q35"));
    assert_eq!(
        machine("machine: type=pc-i440fx-9.0+pve1").as_deref(),
        Some("pc-i440fx-9.0+pve1")
    );
}

#[test]
fn what_rules_out_memory_hotplug_is_seen() {
    let text = "numa0: cpus=0-1,memory=1024\nhugepages: 1024\nvirtiofs0: share\ncpulimit: 1.5";
    let config = VmConfig::parse(text);
    assert!(config.custom_numa && config.virtiofs && !config.numa);
    assert_eq!(config.hugepages, Some(Hugepages::Gib1));
    assert_eq!(config.cpulimit, Some(Cores::milli(1500)));
    assert_eq!(VmConfig::parse("cpulimit: 0").cpulimit, None);
}

#[test]
fn a_value_that_cannot_be_read_is_a_problem_and_not_a_default() {
    for bad in [
        "cores: four",
        "cores: 0",
        "cores:",
        "vcpus: -1",
        "vcpus: 99999999999999999999",
        "memory: 8",
        "memory: 2G",
        "memory: max=1024",
        "balloon: ",
        "shares: 50001",
        "hotplug: cpu,everything",
        "numa: maybe",
        "hugepages: 4",
        "cpulimit: 129",
        "cpulimit: 1e1",
        "cpulimit: .5",
        "lock: two words",
        "template: x",
        "agent: type=isa",
        "memory 2048",
        " memory: 2048",
        "Memory: 2048",
        "[PENDING]\nvcpus 2",
    ] {
        let config = VmConfig::parse(&format!("name: x\n{bad}\n"));
        assert_eq!(config.problems.len(), 1, "{bad:?}: {:?}", config.problems);
    }
    assert_eq!(
        VmConfig::parse("cores: 2\nmemory: 2G").problems,
        [
            "line 2: memory: expected a whole number of MiB, 16 at least, bare or as current=, not \"2G\""
        ]
    );
    assert_eq!(
        VmConfig::parse(&"junk\n".repeat(100_000)).problems.len(),
        PROBLEMS_MAX
    );
    assert_eq!(VmConfig::parse(" \n").problems, ["the file is empty"]);
}

#[test]
fn keys_that_do_not_matter_may_hold_anything() {
    let text = "args: -device x,id=[1]\nboot:  \nallow-ksm: maybe\nnet0: virtio=AA:BB,bridge=vmbr0\nname: x";
    assert_eq!(VmConfig::parse(text).problems, Vec::<String>::new());
}

#[test]
fn a_hostile_name_reaches_nobodys_terminal() {
    let config = VmConfig::parse("name: a\u{1b}[2Jb\nlock: \u{1b}]0;x\n");
    assert_eq!(config.name.as_str(), "a?[2Jb");
    assert!(config.problems.iter().all(|p| !p.contains('\u{1b}')));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        VmConfig::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_text_near_the_grammar_makes_it_panic(text in "([a-z_]{1,8}[0-9]?|memory|tags|hotplug|delete|\\[PENDING\\]|#|\\[)(: ?)?[ -~\u{e9}\n=,;!]{0,20}") {
        VmConfig::parse(&text);
    }

    #[test]
    fn what_qm_writes_is_read_back(
        sockets in 1u32..5, cores in 1u32..129, memory in 16u64..5_000_000,
        balloon in proptest::option::of(0u64..5_000_000), vcpus in proptest::option::of(1u32..512),
    ) {
        let mut text = format!("cores: {cores}\nmemory: {memory}\nsockets: {sockets}\n");
        if let Some(balloon) = balloon { text += &format!("balloon: {balloon}\n"); }
        if let Some(vcpus) = vcpus { text += &format!("vcpus: {vcpus}\n"); }
        let config = VmConfig::parse(&text);
        prop_assert!(config.problems.is_empty());
        prop_assert_eq!(config.max_vcpus(), sockets * cores);
        prop_assert_eq!(config.memory, Mib(memory));
        prop_assert_eq!(config.balloon, balloon.map(Mib));
        prop_assert_eq!(config.vcpus, vcpus);
    }
}

#[test]
fn a_fault_in_what_a_vm_is_given_is_told_apart_from_others() {
    for (text, is_open) in [
        ("memory: lots\n", true),
        ("vcpus: -1\n", true),
        ("cpulimit: 129\n", true),
        ("nonsense\n", true),
        ("", true),
        ("hotplug: network,magic\nmemory: 2048\n", false),
        ("memory: 2048\n", false),
    ] {
        let config = VmConfig::parse(text);
        assert_eq!(
            config.size_problem.is_some(),
            is_open,
            "{text:?}: {config:?}"
        );
    }
    let both = VmConfig::parse("hotplug: network,magic\nmemory: lots\n");
    assert_eq!(both.size_problem.as_ref(), both.problems.last());
    assert_eq!(both.problems.len(), 2);
}

#[test]
fn what_a_vm_is_given_is_what_nobody_takes_back() {
    let given = |text: &str| {
        let config = VmConfig::parse(text);
        (config.cores_given(), config.memory_given())
    };
    let cores = |milli| Cores::milli(milli);
    assert_eq!(given("cores: 4\nmemory: 8192"), (cores(4000), Mib(8192)));
    let text = "cores: 4\nvcpus: 2\ncpulimit: 1.5\nmemory: 8192\nballoon: 2048";
    assert_eq!(given(text), (cores(1500), Mib(2048)));
    assert_eq!(
        given("cpulimit: 8\nmemory: 512\nballoon: 0"),
        (cores(1000), Mib(512))
    );
}
