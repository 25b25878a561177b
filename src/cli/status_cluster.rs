//! `vm-autoscale status --cluster`: every node's agent, and every VM that agents have changed.

use anstyle::{AnsiColor, Style};

use super::output::OutputFormat;
use super::table::{Cell, Table, terminal_width};
use super::{Exit, fail, show};
use crate::cluster::{Mounted, Overview};
use crate::domain::{Moment, sanitize};
use crate::pve::{Layout, Members, VmList};
use crate::record::span;

pub(super) fn run(layout: &Layout, format: OutputFormat) -> Exit {
    let files = Mounted::new(layout.clone());
    let (members, list) = match (Members::read(layout), VmList::read(layout)) {
        (Ok(members), Ok(list)) => (members, list),
        (Err(e), _) | (_, Err(e)) => return fail(e),
    };
    match Overview::read(&files, &members, &list, Moment::now()) {
        Ok(overview) => show(format, &overview, || screen(&overview, terminal_width())),
        Err(e) => fail(format_args!("the cluster cannot be looked at: {e}")),
    }
}

fn screen(overview: &Overview, width: usize) -> String {
    let warning = AnsiColor::Yellow.on_default();
    let mut text = String::new();
    if let Some(pause) = &overview.pause {
        let ago = span(overview.at.since(pause.since));
        let line = format!(
            "The cluster is paused by {} {ago} ago: {}",
            pause.by, pause.reason
        );
        text += &format!("{warning}{}{warning:#}\n\n", sanitize(&line, width));
    }
    text += &nodes(overview).render(width);
    if !overview.vms.is_empty() {
        text += "\n";
        text += &vms(overview).render(width);
    }
    text
}

fn attention(found: &[String]) -> Cell {
    match found {
        [] => Cell::new("-", Style::new()),
        found => Cell::new(found.join("; "), AnsiColor::Yellow.on_default()),
    }
}

fn nodes(overview: &Overview) -> Table {
    let mut table = Table::new(&[
        ("NODE", 16),
        ("AGENT", 10),
        ("CONFIG", 8),
        ("REPORTED", 12),
        ("ATTENTION", 200),
    ]);
    for node in &overview.nodes {
        let of = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
        let agent = node.agent.as_ref();
        table.row(vec![
            node.node.to_string().into(),
            of(agent.map(|agent| agent.agent.clone())),
            of(agent.map(|agent| agent.config.chars().take(8).collect())),
            of(agent.map(|agent| format!("{} ago", span(overview.at.since(agent.written))))),
            attention(&node.attention),
        ]);
    }
    table
}

fn vms(overview: &Overview) -> Table {
    let mut table = Table::new(&[
        ("VMID", 9),
        ("NODE", 16),
        ("LAST CHANGE", 34),
        ("ATTENTION", 200),
    ]);
    for vm in &overview.vms {
        let changed = vm.changed.as_ref().map_or("-".to_owned(), |change| {
            let ago = span(overview.at.since(change.at));
            format!("{} → {}, {ago} ago", change.from, change.to)
        });
        table.row(vec![
            vm.vmid.to_string().into(),
            vm.node
                .as_ref()
                .map_or("-".to_owned(), ToString::to_string)
                .into(),
            changed.into(),
            attention(&vm.attention),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A cluster of four nodes: one well, one with another version and configuration, one stopped, one without agent.
    fn cluster() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let put = |path: &str, text: &str| {
            let path = layout.pve().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let member =
            |id: u8, online: u8| format!(r#"{{"id":{id},"online":{online},"ip":"10.0.0.{id}"}}"#);
        put(
            ".members",
            &format!(
                r#"{{"nodename":"pve1","version":4,"cluster":{{"name":"c","version":4,"nodes":4,"quorate":1}},
                   "nodelist":{{"pve1":{},"pve2":{},"pve3":{},"pve4":{}}}}}"#,
                member(1, 1),
                member(2, 1),
                member(3, 1),
                member(4, 0)
            ),
        );
        put(".version", "{}");
        put(
            ".vmlist",
            r#"{"version":3,"ids":{"101":{"node":"pve2","type":"qemu","version":1},
               "102":{"node":"pve1","type":"qemu","version":2}}}"#,
        );
        let now = serde_json::to_string(&Moment::now()).unwrap();
        let report = |agent: &str, running: bool, config: &str| {
            format!(
                r#"{{"version":1,"agent":"{agent}","running":{running},"started":{now},"written":{now},
                   "config":"{config}","problem":null}}"#
            )
        };
        put(
            "vm-autoscale/nodes/pve1.json",
            &report("1.0.0", true, "aaaaaaaa00"),
        );
        put(
            "vm-autoscale/nodes/pve2.json",
            &report("0.9.0", true, "bbbbbbbb00"),
        );
        put(
            "vm-autoscale/nodes/pve3.json",
            &report("1.0.0", false, "aaaaaaaa00"),
        );
        put("vm-autoscale/vms/101.json", "torn");
        (dir, layout)
    }

    fn overview(layout: &Layout) -> Overview {
        let files = Mounted::new(layout.clone());
        let (members, list) = (
            Members::read(layout).unwrap(),
            VmList::read(layout).unwrap(),
        );
        Overview::read(&files, &members, &list, Moment::now()).unwrap()
    }

    #[test]
    fn agents_that_are_missing_old_stopped_or_configured_otherwise_are_named() {
        let (_dir, layout) = cluster();
        let seen = overview(&layout);
        let found: Vec<String> = seen.nodes.iter().map(|n| n.attention.join("; ")).collect();
        assert_eq!(found[0], "", "the node that asks is the measure");
        assert_eq!(found[1], "other version than 1.0.0; configured otherwise");
        assert_eq!(found[2], "agent was stopped");
        assert_eq!(found[3], "node is offline; no agent");
        assert!(seen.vms[0].attention[0].contains("cannot be understood"));
        assert!(!seen.is_well());
    }

    #[test]
    fn the_screen_fits_eighty_columns() {
        let (_dir, layout) = cluster();
        let text = anstream::adapter::strip_str(&screen(&overview(&layout), 80)).to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("pve4") && text.contains("101"), "{text}");
    }
}
