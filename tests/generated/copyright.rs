//! `debian/copyright`: the project's own licence, and the one of every crate whose code is in the binary, with its
//! copyright notices and the texts that Debian does not have in `/usr/share/common-licenses`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the package is built for; crates for other systems are not in it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The licences of which one is enough, the one chosen first. Where a crate leaves the choice, this is the order.
const CHOSEN: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Unlicense",
    "0BSD",
    "BSD-3-Clause",
    "BSD-2-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
];

struct Crate {
    name: String,
    licences: Vec<String>,
    notices: BTreeSet<String>,
    texts: Vec<String>,
}

/// The file.
pub(crate) fn text() -> String {
    let mut text = fs::read_to_string("debian/copyright.in").unwrap();
    let mut crates = linked();
    crates.sort_by(|a, b| a.name.cmp(&b.name));
    let mut groups: BTreeMap<String, Vec<&Crate>> = BTreeMap::new();
    for member in &crates {
        groups
            .entry(member.licences.join(" and "))
            .or_default()
            .push(member);
    }
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for (licence, members) in &groups {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let notices: BTreeSet<&str> = members
            .iter()
            .flat_map(|member| &member.notices)
            .map(String::as_str)
            .collect();
        let _ = write!(text, "\nFiles:{}", folded(&names, "vendor/", "/*"));
        let _ = write!(text, "Copyright:");
        for notice in &notices {
            let _ = writeln!(text, " {notice}");
        }
        let _ = writeln!(text, "License: {licence}");
        needed.extend(
            members
                .iter()
                .flat_map(|member| &member.licences)
                .map(String::as_str),
        );
    }
    for licence in needed {
        // The frame has these.
        if ["MIT", "Apache-2.0"].contains(&licence) {
            continue;
        }
        let of = |member: &&Crate| {
            member.licences.iter().any(|l| l == licence) && !member.texts.is_empty()
        };
        let source = crates
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("no text of {licence} found"));
        let words = source
            .texts
            .iter()
            .find(|t| fits(licence, t))
            .unwrap_or(&source.texts[0]);
        let _ = write!(text, "\nLicense: {licence}\n{}", indented(words));
    }
    text
}

fn folded(names: &[&str], before: &str, after: &str) -> String {
    names
        .iter()
        .map(|name| format!(" {before}{name}{after}\n"))
        .collect()
}

fn indented(text: &str) -> String {
    let line = |line: &str| match line.trim_end() {
        "" => " .\n".to_owned(),
        words => format!(" {words}\n"),
    };
    text.trim().lines().map(line).collect()
}

/// Whether a text is likely the one of `licence`, by words that only it has.
fn fits(licence: &str, text: &str) -> bool {
    text.contains(match licence {
        "Unicode-3.0" => "UNICODE LICENSE V3",
        "BSD-3-Clause" | "BSD-2-Clause" => "Redistribution and use",
        "ISC" | "0BSD" => "Permission to use, copy, modify",
        "Zlib" => "express or implied warranty",
        "Unlicense" => "public domain",
        _ => licence,
    })
}

/// Every crate whose code is in the binary: reached by normal dependencies, procedural macros left out.
fn linked() -> Vec<Crate> {
    let all = metadata();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = list(&all["packages"])
        .into_iter()
        .map(|p| (word(&p["id"]), p))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&all["resolve"]["nodes"])
        .into_iter()
        .map(|n| (word(&n["id"]), n))
        .collect();
    let root = word(&all["resolve"]["root"]);
    let mut seen = BTreeSet::new();
    let mut open = vec![root.clone()];
    while let Some(id) = open.pop() {
        let targets = list(&packages[&id]["targets"]);
        let is_macro = targets
            .iter()
            .any(|t| t["kind"] == serde_json::json!(["proc-macro"]));
        if is_macro || !seen.insert(id.clone()) {
            continue;
        }
        let normal = |dep: &&Value| {
            list(&dep["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
        };
        open.extend(
            list(&nodes[&id]["deps"])
                .iter()
                .filter(normal)
                .map(|dep| word(&dep["pkg"])),
        );
    }
    seen.remove(&root);
    seen.iter().map(|id| of(&packages[id])).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What cargo knows of the dependencies, with the features that the package is built with.
fn metadata() -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        TARGET,
    ]);
    if fs::read_to_string("Cargo.toml")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("tls ="))
    {
        command.args(["--features", "tls"]);
    }
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "cargo metadata failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of(package: &Value) -> Crate {
    let name = word(&package["name"]);
    let directory = Path::new(package["manifest_path"].as_str().unwrap())
        .parent()
        .unwrap()
        .to_owned();
    let mut texts = Vec::new();
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let label = file.file_name().unwrap().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "UNLICENSE"];
        if file.is_file() && is_licence.iter().any(|word| label.starts_with(word)) {
            texts.extend(fs::read_to_string(&file));
        }
    }
    let mut notices: BTreeSet<String> = texts.iter().flat_map(|text| notices(text)).collect();
    if notices.is_empty() {
        notices.insert(format!("The {name} developers"));
    }
    Crate {
        licences: chosen(&name, &word(&package["license"])),
        notices,
        texts,
        name,
    }
}

/// The copyright lines of a licence file, without what only the templates of the Apache licence say.
fn notices(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let notice = lines.filter(|line| {
        let lower = line.to_lowercase();
        let rest = lower.strip_prefix("copyright").unwrap_or_default();
        rest.contains("(c)")
            || rest.contains(|c: char| c.is_ascii_digit())
            || rest.starts_with(" the ")
    });
    let real = notice.filter(|line| !line.contains(['[', '{']) && !line.starts_with("copyright"));
    real.map(|line| line.trim_start_matches("Copyright").trim().to_owned())
        .collect()
}

/// What the crate is used under: of `A OR B` the one that comes first in [`CHOSEN`], of `A AND B` both.
fn chosen(name: &str, expression: &str) -> Vec<String> {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    let mut all: Vec<String> = Vec::new();
    for part in expression.split(" AND ") {
        let offered: Vec<&str> = part.split(" OR ").map(str::trim).collect();
        let best = CHOSEN.iter().find(|licence| offered.contains(*licence));
        let best = best
            .unwrap_or_else(|| panic!("{name}: no licence of {expression} is known to be fine"));
        all.push((*best).to_owned());
    }
    all.sort();
    all.dedup();
    all
}
