//! `qm`: its commands, their arguments and what they print.
//!
//! Source: `qemu-server: src/PVE/CLI/qm.pm`; `pve-common: src/PVE/CLIHandler.pm`.

use std::collections::BTreeMap;

use super::failure::{DIE, Done, EARLY, Failure};
use super::options::{self, Parsed, Spec, Takes, spec};
use super::output;
use super::power;
use super::session::Session;
use super::status;
use super::store;
use super::update::Update;
use crate::vmconf::encode_text;

/// Commands and what follows them in the usage. Order and texts are those of `qm help`, which lists many more.
const COMMANDS: &[(&str, &str)] = &[
    ("config", "<vmid> [OPTIONS]"),
    ("list", "[OPTIONS]"),
    ("pending", "<vmid>"),
    ("reboot", "<vmid> [OPTIONS]"),
    ("resume", "<vmid> [OPTIONS]"),
    ("set", "<vmid> [OPTIONS]"),
    ("shutdown", "<vmid> [OPTIONS]"),
    ("start", "<vmid> [OPTIONS]"),
    ("stop", "<vmid> [OPTIONS]"),
    ("suspend", "<vmid> [OPTIONS]"),
    ("status", "<vmid> [OPTIONS]"),
    ("unlock", "<vmid>"),
    ("help", "[OPTIONS]"),
];

/// Runs one command line.
pub(crate) fn run(session: &Session, args: &[String]) -> Done<u8> {
    let Some((word, rest)) = args.split_first() else {
        return Ok(usage(session, "no command specified"));
    };
    let Some(name) = full_name(word) else {
        return Ok(usage(session, &format!("unknown command 'qm {word}'")));
    };
    let done = match name {
        "config" => config(session, rest),
        "list" => list(session, rest),
        "pending" => pending(session, rest),
        "set" => set(session, rest),
        "status" => show_status(session, rest),
        "unlock" => unlock(session, rest),
        "help" => {
            session.print(&usage_text());
            Ok(0)
        }
        _ => change_power(session, name, rest),
    };
    done.map_err(|failure| with_usage(session, name, failure))
}

/// A command by its name or by any beginning that fits only one.
fn full_name(word: &str) -> Option<&'static str> {
    let names = || COMMANDS.iter().map(|(name, _)| *name);
    if let Some(exact) = names().find(|name| *name == word) {
        return Some(exact);
    }
    let mut fitting = names().filter(|name| name.starts_with(word));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn usage_text() -> String {
    let lines = COMMANDS
        .iter()
        .map(|(name, arguments)| format!("       qm {name} {arguments}\n"));
    std::iter::once("USAGE: qm <COMMAND> [ARGS] [OPTIONS]\n\n".to_owned())
        .chain(lines)
        .collect()
}

fn usage(session: &Session, reason: &str) -> u8 {
    session.warn(&format!("ERROR: {reason}\n{}", usage_text()));
    DIE
}

/// A parameter exception is followed by the command's usage.
fn with_usage(session: &Session, name: &str, failure: Failure) -> Failure {
    if !matches!(failure, Failure::BadRequest { .. }) {
        return failure;
    }
    let arguments = COMMANDS
        .iter()
        .find(|(command, _)| *command == name)
        .map_or("", |(_, arguments)| arguments);
    session.warn(&format!("{}qm {name} {arguments}\n", failure.text()));
    Failure::Injected(failure.code())
}

/// Reads options and the one VMID that most commands take.
fn parse_vm(session: &Session, specs: &[Spec], args: &[String]) -> Done<(u32, Parsed)> {
    let mut parsed = options::parse(specs, args, |complaint| session.warn(complaint))?;
    let [text] = options::positional(&mut parsed)?;
    let vmid = options::vmid(&text)
        .map_err(|why| Failure::parameters(vec![("vmid".to_owned(), why)], EARLY))?;
    Ok((vmid, parsed))
}

fn set(session: &Session, args: &[String]) -> Done<u8> {
    let mut parsed = options::parse(&options::update_specs(), args, |complaint| {
        session.warn(complaint)
    })?;
    let [text] = options::positional(&mut parsed)?;
    let vmid = options::check_config_values(&parsed.options, &text)?;
    let mut update = Update::new(vmid, parsed)?;
    update.check(session)?;
    let lock = store::lock(session, vmid)?;
    update.apply(session, &lock)?;
    Ok(0)
}

fn config(session: &Session, args: &[String]) -> Done<u8> {
    let specs = [spec("current", Takes::Flag), spec("snapshot", Takes::Value)];
    let (vmid, mut parsed) = parse_vm(session, &specs, args)?;
    let current = parsed.take_flag("current");
    let snapshot = parsed.take("snapshot");
    if current && snapshot.is_some() {
        let clash = "cannot use 'snapshot' parameter with 'current'".to_owned();
        return Err(Failure::parameters(
            vec![
                ("current".to_owned(), clash.clone()),
                ("snapshot".to_owned(), clash),
            ],
            DIE,
        ));
    }
    let (config, _) = store::load(session, vmid)?;
    let keys = match snapshot {
        Some(name) => match config.snapshots.get(&name) {
            Some(keys) => keys.clone(),
            None => return Err(Failure::died(format!("snapshot '{name}' does not exist"))),
        },
        None if current => config.active,
        None => config.with_pending(),
    };
    session.print(
        &keys
            .iter()
            .map(|(key, value)| format!("{key}: {}\n", shown(key, value)))
            .collect::<String>(),
    );
    Ok(0)
}

fn shown(key: &str, value: &str) -> String {
    match key {
        "description" => encode_text(value),
        "cipassword" => "**********".to_owned(),
        _ => value.to_owned(),
    }
}

fn pending(session: &Session, args: &[String]) -> Done<u8> {
    let (vmid, _) = parse_vm(session, &[], args)?;
    let (config, _) = store::load(session, vmid)?;
    let deletes = config.pending_deletes();
    let mut lines = BTreeMap::new();
    for (key, value) in &config.active {
        let value = shown(key, value);
        let text = match config.pending.get(key) {
            _ if deletes.contains_key(key) => format!("del {key}: {value}\n"),
            Some(new) => format!("cur {key}: {value}\nnew {key}: {}\n", shown(key, new)),
            None => format!("cur {key}: {value}\n"),
        };
        lines.insert(key, text);
    }
    for (key, value) in config.pending.iter().filter(|(key, _)| *key != "delete") {
        lines
            .entry(key)
            .or_insert_with(|| format!("new {key}: {}\n", shown(key, value)));
    }
    session.print(&lines.into_values().collect::<String>());
    Ok(0)
}

fn list(session: &Session, args: &[String]) -> Done<u8> {
    let mut parsed = options::parse(&[spec("full", Takes::Flag)], args, |complaint| {
        session.warn(complaint)
    })?;
    let [] = options::positional(&mut parsed)?;
    let vms = status::of_vms(session, None, parsed.take_flag("full"))?;
    if vms.is_empty() {
        return Ok(0);
    }
    let row = |vmid: &str, name: &str, status: &str, memory: &str, disk: &str, pid: &str| {
        format!("{vmid:>10} {name:<20} {status:<10} {memory:<10} {disk:>12} {pid:<10}\n")
    };
    let mut text = row("VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID");
    for (vmid, vm) in &vms {
        let status = vm
            .get("qmpstatus")
            .or_else(|| vm.get("status"))
            .and_then(|status| status.as_str());
        let memory = vm
            .get("maxmem")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
            / (1024 * 1024);
        let pid = vm
            .get("pid")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let name = vm
            .get("name")
            .and_then(|name| name.as_str())
            .unwrap_or_default();
        text.push_str(&row(
            &vmid.to_string(),
            name,
            status.unwrap_or_default(),
            &memory.to_string(),
            "0.00",
            &pid.to_string(),
        ));
    }
    session.print(&text);
    Ok(0)
}

fn show_status(session: &Session, args: &[String]) -> Done<u8> {
    let (vmid, mut parsed) = parse_vm(session, &[spec("verbose", Takes::Flag)], args)?;
    store::load(session, vmid)?;
    let vm = status::of_vms(session, Some(vmid), true)?
        .remove(&vmid)
        .unwrap_or_default();
    if parsed.take_flag("verbose") {
        let text: String = vm
            .iter()
            .filter(|(key, _)| *key != "cpu")
            .map(|(key, value)| output::indented(key, value))
            .collect();
        session.print(&text);
    } else {
        let status = vm
            .get("qmpstatus")
            .and_then(|status| status.as_str())
            .unwrap_or("unknown");
        session.print(&format!("status: {status}\n"));
    }
    Ok(0)
}

fn unlock(session: &Session, args: &[String]) -> Done<u8> {
    let (vmid, _) = parse_vm(session, &[], args)?;
    let _lock = store::lock(session, vmid)?;
    let (mut config, _) = store::load(session, vmid)?;
    config.active.remove("lock");
    config.pending.remove("lock");
    store::write(session, vmid, &config)?;
    Ok(0)
}

fn change_power(session: &Session, name: &str, args: &[String]) -> Done<u8> {
    let specs = [
        spec("skiplock", Takes::Flag),
        spec("timeout", Takes::Value),
        spec("forceStop", Takes::Flag),
    ];
    let (vmid, mut parsed) = parse_vm(session, &specs, args)?;
    let skiplock = parsed.take_flag("skiplock");
    power::check(session, name, vmid)?;
    match session.worker(|| power::change(session, name, vmid, skiplock))? {
        Ok(()) => Ok(0),
        Err(last_words) => {
            session.warn(&format!("{last_words}\n"));
            Ok(DIE)
        }
    }
}
