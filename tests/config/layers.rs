//! The cluster's settings below the node's own.

use std::path::Path;

use vm_autoscale::config::{self, LoadError, Loaded, Origin, Scope};

const OWN: &str = "/etc/vm-autoscale/config.yaml";
const SHARED: &str = "/etc/pve/vm-autoscale/config.yaml";

fn read(own: &str, shared: &str) -> Result<Loaded, LoadError> {
    let shared = Some((Path::new(SHARED), shared));
    config::read_over(own.as_bytes(), Path::new(OWN), shared)
}

fn refused(own: &str, shared: &str) -> String {
    read(own, shared).unwrap_err().to_string()
}

#[test]
fn the_nodes_own_file_goes_over_the_clusters_key_by_key() {
    let own = "profiles:\n  default:\n    cpu: {max: 6}\nselect: {tags: [mine]}\n";
    let shared = "check_interval: 9s\nprofiles:\n  default:\n    cpu: {min: 2, max: 4}\n  big:\n    cpu: {max: 32}\n\
                  select: {tags: [theirs, others], vms: [101]}\n";
    let loaded = read(own, shared).unwrap();
    let cpu = &loaded.settings.profiles["default"].cpu;
    assert_eq!(
        (cpu.min.to_string(), cpu.max.to_string()),
        ("2".into(), "6".into())
    );
    assert_eq!(
        loaded.settings.select.tags,
        ["mine"],
        "a list counts as one"
    );
    assert_eq!(loaded.settings.select.vms.len(), 1);
    assert_eq!(loaded.settings.check_interval.as_secs(), 9);
    assert_eq!(loaded.settings.profiles["big"].cpu.max.to_string(), "32");
}

#[test]
fn every_value_tells_which_file_it_came_from() {
    let loaded = read("host: {max_cpu: 80%}\n", "host:\n  max_memory: 70%\n").unwrap();
    let origin = |key: &str| {
        let node = loaded.provenance.node();
        node.iter().find(|e| e.key == key).unwrap().from.clone()
    };
    let scope = |key| match origin(key) {
        Origin::File { place, .. } => Some(place.scope),
        _ => None,
    };
    assert_eq!(scope("host.max_cpu"), Some(Scope::Node));
    assert_eq!(scope("host.max_memory"), Some(Scope::Cluster));
    assert_eq!(scope("host.reserve_memory"), None);
    assert_eq!(
        origin("host.max_memory").to_string(),
        "the cluster's host.max_memory, line 2"
    );
}

#[test]
fn a_key_whose_children_are_commented_out_hides_nothing_of_the_cluster() {
    let loaded = read("host:\n#  max_cpu: 50%\n", "host: {max_cpu: 70%}\n").unwrap();
    assert_eq!(loaded.settings.host.max_cpu.to_string(), "70 %");
}

#[test]
fn a_fault_names_the_file_that_it_is_in() {
    let error = refused("check_interval: 5s\n", "\ncheck_intervall: 5s\n");
    assert!(error.starts_with(&format!("{SHARED}:2:1: ")), "{error}");
    let error = refused("check_intervall: 5s\n", "check_interval: 5s\n");
    assert!(error.starts_with(&format!("{OWN}:1:1: ")), "{error}");
}

#[test]
fn what_fits_only_one_of_the_files_is_a_fault_of_both_together() {
    let own = "profiles: {default: {memory: {min: 8GiB}}}\n";
    let shared = "profiles: {default: {memory: {max: 4GiB}}}\n";
    let error = read(own, shared).unwrap_err();
    assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("the cluster's profiles.default.memory.max"),
        "{error}"
    );
}

#[test]
fn a_profile_of_the_cluster_can_be_named_by_the_nodes_own_file() {
    let loaded = read(
        "vms: {101: {profile: big}}\n",
        "profiles: {big: {priority: 7}}\n",
    )
    .unwrap();
    let vm = loaded.settings.vms.values().next().unwrap();
    assert_eq!(vm.by_profile["big"].as_ref().unwrap().priority, 7);
}

#[test]
fn no_secret_may_stand_in_the_clusters_file() {
    let channel = |token: &str| {
        format!(
            "notify: {{channels: {{a: {{type: gotify, url: \"http://gotify.example\", token: {token}}}}}}}\n"
        )
    };
    for secret in [
        "hunter2",
        "{credential: gotify}",
        "{file: /etc/vm-autoscale/token}",
    ] {
        let error = refused("", &channel(secret));
        assert!(error.contains("/etc/pve/priv/vm-autoscale"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert!(read("", &channel("{file: /etc/pve/priv/vm-autoscale/token}")).is_ok());
    assert!(
        read(&channel("hunter2"), "").is_ok(),
        "the node's own file may hold it"
    );
}

#[test]
fn a_channel_of_the_node_replaces_the_clusters_of_that_name_as_a_whole() {
    let own = "notify: {channels: {a: {type: command, program: /bin/true}}}\n";
    let shared = "notify: {channels: {a: {type: pve}, b: {type: pve}}}\n";
    let notify = read(own, shared).unwrap().settings.notify;
    assert_eq!(notify.channels.len(), 2);
}

#[test]
fn a_path_that_climbs_out_of_the_directory_of_secrets_is_no_path_in_it() {
    let shared = "notify: {channels: {a: {type: gotify, url: \"http://gotify.example\", \
                  token: {file: /etc/pve/priv/vm-autoscale/../../vm-autoscale/token}}}}\n";
    assert!(refused("", shared).contains("/etc/pve/priv/vm-autoscale"));
}
