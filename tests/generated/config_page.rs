//! `vm-autoscale.yaml(5)`: every key that the code knows, what it expects and what is built in, with the explanation
//! that the annotated example gives.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use vm_autoscale::config::{self, Form, known_keys};
use vm_autoscale::domain::Moment;

use crate::annotations;
use crate::roff::{bold, escape, fill};

/// The page.
pub(crate) fn page() -> String {
    let described = annotations::of_the_examples();
    let built_in = built_in();
    let mut keys = String::new();
    for (key, known) in known_keys() {
        // A VM's section has the keys of a profile, and the page says so once.
        if key.starts_with("vms.VMID.") && key != "vms.VMID.profile" {
            continue;
        }
        let lines = described.get(key).map(Vec::as_slice).unwrap_or_default();
        if known.form == Form::Section && lines.is_empty() {
            continue;
        }
        let _ = writeln!(keys, ".TP\n{}", bold(key));
        keys += &explained(lines);
        if known.form != Form::Section {
            let _ = write!(keys, ".br\nExpects {}.", escape(&known.expects));
            match built_in.get(key) {
                Some(value) => {
                    let _ = writeln!(keys, " Built in: {}.", bold(value));
                }
                None => keys += "\n",
            }
        }
    }
    let template = std::fs::read_to_string("docs/vm-autoscale.yaml.5.in").unwrap();
    fill(&template, &[("KEYS", keys), ("SHIPPED", shipped())])
}

/// What is in force when the file is empty, by key.
pub(crate) fn built_in() -> BTreeMap<String, String> {
    let empty = config::read(b"", Path::new("empty")).unwrap();
    let any = "100".parse().unwrap();
    let vm = empty.provenance.vm(any, None, Moment::default()).unwrap();
    let node = empty.provenance.node().iter().cloned();
    let mut all: BTreeMap<String, String> = node.map(|e| (e.key, e.value)).collect();
    for effective in vm.settings {
        let section = match effective.key.as_str() {
            "profile" => "vms.VMID",
            _ => "profiles.NAME",
        };
        all.insert(format!("{section}.{}", effective.key), effective.value);
    }
    all
}

/// The lines of a comment; those with a word and wide space before its meaning become a list.
fn explained(lines: &[String]) -> String {
    let mut text = String::new();
    let mut listed = false;
    for line in lines {
        match line
            .split_once("  ")
            .filter(|(word, _)| !word.contains(' '))
        {
            Some((word, meaning)) => {
                if !listed {
                    text += ".RS\n";
                    listed = true;
                }
                let _ = writeln!(text, ".TP\n{}\n{}", bold(word), escape(meaning.trim()));
            }
            None if line.is_empty() => {}
            None => {
                let _ = writeln!(text, "{}", escape(line));
            }
        }
    }
    if listed {
        text += ".RE\n.IP\n";
    }
    text
}

/// The file as the package installs it.
fn shipped() -> String {
    let text = std::fs::read_to_string("etc/vm-autoscale/config.yaml").unwrap();
    format!(".nf\n{}\n.fi\n", escape(&text))
}
