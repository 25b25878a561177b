//! Whatever the old file holds, the new one loads, and neither it nor the report shows a secret.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use vm_autoscale::config;
use vm_autoscale::config::import::{Options, import};

fn check(bytes: &[u8]) {
    let options = Options {
        hosts: Vec::new(),
        node: Some("pve1".to_owned()),
        secrets: PathBuf::from("/etc/vm-autoscale"),
    };
    let Ok(import) = import(bytes, Path::new("old.yaml"), &options) else {
        return;
    };
    if let Err(error) = config::read(import.text.as_bytes(), Path::new("new.yaml")) {
        panic!("{error}\n{}", import.text);
    }
    for line in &import.lines {
        let text = line.text();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}

/// A value that stands anywhere: right, wrong, at the edges of what is allowed.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..200_u32).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        prop_oneof![
            Just("true"),
            Just("no"),
            Just("~"),
            Just("[]"),
            Just("{}"),
            Just("pve1")
        ]
        .prop_map(str::to_owned),
        prop_oneof![
            Just("localhost"),
            Just("http://gotify.example.com"),
            Just("a@example.com")
        ]
        .prop_map(str::to_owned),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        "[\\[\\]{}:,#&*!|>'\"%@`~?-]{1,4}",
    ]
}

/// An old file in which every key has a value of that kind.
fn file() -> impl Strategy<Value = String> {
    let vm = proptest::collection::vec(value(), 9).prop_map(|v| {
        format!(
            "- vm_id: {}\n  proxmox_host: pve1\n  scaling_enabled: true\n  cpu_scaling: {}\n  ram_scaling: {}\n  \
             thresholds: {{cpu_high: {}, cpu_low: {}, ram: {{high: {}, low: {}}}}}\n  \
             scaling_limits: {{min_cores: {}, max_ram_mb: {}}}\n",
            v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]
        )
    });
    let top = proptest::collection::vec(value(), 22);
    (top, proptest::collection::vec(vm, 0..5)).prop_map(|(v, vms)| {
        format!(
            "scaling_thresholds: {{cpu: {{high: {}, low: {}}}, ram: {{high: {}, low: {}}}}}\n\
             scaling_limits: {{min_cores: {}, max_cores: {}, min_ram_mb: {}, max_ram_mb: {}}}\n\
             check_interval: {}\nscale_cooldown: {}\nscale_down_after_cycles: {}\nmin_ram: {}\n\
             host_limits: {{max_host_cpu_percent: {}, max_host_ram_percent: {}}}\n\
             notification_dedup_seconds: {}\ndry_run: {}\n\
             gotify: {{enabled: true, server_url: {}, app_token: hunter2}}\n\
             alerts: {{email_enabled: true, smtp_server: {}, smtp_port: {}, smtp_user: {}, smtp_password: hunter2, email_recipient: {}}}\n\
             proxmox_hosts:\n- {{name: pve1, host: {}}}\nvirtual_machines:\n{}",
            v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15],
            v[16], v[17], v[18], v[19], v[20], v[21], vms.concat()
        )
    })
}

proptest! {
    #[test]
    fn any_values_at_the_known_keys_give_a_file_that_loads(old in file()) {
        check(old.as_bytes());
    }

    #[test]
    fn any_damage_to_a_good_file_gives_a_file_that_loads_or_a_refusal(
        edits in proptest::collection::vec((any::<Index>(), 0..8_usize, value()), 1..6),
    ) {
        let mut old = include_str!("../data/import/every-key.yaml").to_owned();
        for (at, remove, insert) in edits {
            let places: Vec<_> = old.char_indices().map(|(place, _)| place).collect();
            let start = places[at.index(places.len())];
            let end = old[start..].char_indices().nth(remove).map_or(old.len(), |(length, _)| start + length);
            old.replace_range(start..end, &insert);
        }
        check(old.as_bytes());
    }

    #[test]
    fn any_bytes_give_a_file_that_loads_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut old = b"scaling_limits: {}\n".to_vec();
        old.extend(bytes);
        check(&old);
    }
}
