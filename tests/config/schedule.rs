//! Windows in the configuration: whose values count, and how `check-config` shows what holds when.

use vm_autoscale::config::Overrides;

use super::*;

/// What `check-config --vm` prints for the VM at a time of a machine whose clock is UTC or anything else: the file's
/// times are its own.
fn shown(vm: u32, profile: Option<&str>, at: &str, format: OutputFormat) -> String {
    let args = CheckConfig {
        vm: Some(id(vm)),
        profile: profile.map(str::to_owned),
        at: Some(at.parse().unwrap()),
        file: Some(data("good/schedule.yaml")),
        ..CheckConfig::default()
    };
    let mut out = anstream::StripStream::new(Vec::new());
    let result = check_config::run(&args, Path::new("/nowhere"), None, format, &mut out).unwrap();
    assert_eq!(result, CheckResult::Valid);
    String::from_utf8(out.into_inner()).unwrap()
}

fn line<'a>(text: &'a str, begin: &str) -> &'a str {
    let found = text
        .lines()
        .find(|line| line.trim_start().starts_with(begin));
    found.unwrap_or_else(|| panic!("no line {begin:?} in:\n{text}"))
}

#[test]
fn check_config_shows_what_holds_in_a_window_and_which_one_is_open() {
    // 2026-11-24 is a Tuesday.
    let noon = shown(100, None, "2026-11-24T12:00", OutputFormat::Text);
    let min = "profiles.default.schedule.office.cpu.min, line 5";
    assert!(line(&noon, "cpu.min").ends_with(min), "{noon}");
    assert!(noon.contains("where it is 12:00"), "{noon}");
    assert!(
        line(&noon, "office").contains("mon tue wed thu fri 08:00 to 18:00"),
        "{noon}"
    );
    assert!(line(&noon, "office").contains("cpu.min 4, memory.min 8GiB; open until 18:00"));
    assert!(!line(&noon, "backup").contains("open until"), "{noon}");
    let night = shown(100, None, "2026-11-24T01:00", OutputFormat::Text);
    assert!(line(&night, "mode").contains("observe"), "{night}");
    assert!(
        line(&night, "backup").contains("open until 02:30"),
        "{night}"
    );
    assert!(line(&night, "cpu.min").ends_with("profiles.default.cpu.min, line 3"));
}

#[test]
fn a_section_goes_over_the_windows_below_it() {
    let own = shown(101, None, "2026-11-24T12:00", OutputFormat::Text);
    assert!(line(&own, "memory.min").contains("2GiB"), "{own}");
    assert!(line(&own, "cpu.min").contains('4'), "{own}");
    let json = shown(101, Some("batch"), "2026-11-24T12:00", OutputFormat::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let windows = json["windows"].as_array().unwrap();
    let named: Vec<_> = windows
        .iter()
        .map(|w| (w["name"].as_str().unwrap(), w["sets"].clone()))
        .collect();
    // Of the office hours of the profile default nothing is left: batch and the VM say otherwise.
    assert_eq!(
        named,
        [
            ("backup", serde_json::json!({"mode": "observe"})),
            ("office", serde_json::json!({"cpu.max": 4.0}))
        ]
    );
}

#[test]
fn the_nodes_window_replaces_that_of_the_cluster_as_a_whole() {
    let cluster = "profiles: {default: {schedule: {office: {from: '08:00', to: '18:00', cpu: {min: 4}}, \
                   night: {from: '22:00', to: '06:00', mode: observe}}}}";
    let own = "profiles: {default: {schedule: {office: {from: '09:00', to: '17:00', memory: {min: 4GiB}}}}}";
    let loaded = config::read_over(
        own.as_bytes(),
        Path::new("own"),
        Some((Path::new("all"), cluster)),
    );
    let settings = loaded.unwrap().settings;
    let schedule = &settings.profiles["default"].schedule;
    let of = |name: &str| schedule.iter().find(|window| window.name == name).unwrap();
    assert_eq!(of("office").from.to_string(), "09:00");
    let only_memory = Overrides {
        memory_min: Some(Mib::gib(4)),
        ..Overrides::default()
    };
    assert_eq!(of("office").sets, only_memory);
    assert_eq!(of("night").to.to_string(), "06:00");
}
