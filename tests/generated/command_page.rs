//! `vm-autoscale(1)`: the options and commands as the program itself declares them, in a frame of hand-written prose.

use std::fmt::Write;

use clap::{Arg, Command};

use crate::roff::{bold, escape, fill, italic};

/// The page.
pub(crate) fn page() -> String {
    let mut command = vm_autoscale::cli::command();
    command.build();
    let mut commands = String::new();
    for sub in command.get_subcommands() {
        if !sub.is_hide_set() && sub.get_name() != "help" {
            commands += &section(sub);
        }
    }
    let template = std::fs::read_to_string("docs/vm-autoscale.1.in").unwrap();
    let parts = [
        ("OPTIONS", options(&command, |_| true)),
        ("COMMANDS", commands),
    ];
    fill(&template, &parts)
}

/// One command: how to call it, what it does, its own options.
fn section(command: &Command) -> String {
    let mut text = format!(".SS {}\n", escape(command.get_name()));
    let mut call = bold(&format!("vm-autoscale {}", command.get_name()));
    if own(command).any(|arg| !arg.is_positional()) {
        call += " [options]";
    }
    for arg in command.get_positionals() {
        let name = italic(&value_names(arg));
        let call_part = if arg.is_required_set() {
            format!(" {name}")
        } else {
            format!(" [{name}]")
        };
        call += &call_part;
    }
    let _ = writeln!(text, "{call}\n.PP");
    let about = command.get_long_about().or(command.get_about());
    text += &sentences(&about.map(ToString::to_string).unwrap_or_default());
    text += &options(command, |arg| !arg.is_global_set());
    text
}

/// The arguments that only this command has.
fn own(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !is_of_clap(arg))
}

fn is_of_clap(arg: &Arg) -> bool {
    arg.is_hide_set() || ["help", "version"].contains(&arg.get_id().as_str())
}

fn options(command: &Command, wanted: impl Fn(&Arg) -> bool) -> String {
    let mut text = String::new();
    let shown = |arg: &&Arg| !arg.is_hide_set() && wanted(arg);
    for arg in command.get_arguments().filter(shown) {
        if is_of_clap(arg) && command.get_name() != "vm-autoscale" {
            continue;
        }
        let _ = writeln!(text, ".TP\n{}", names(arg));
        let help = arg.get_long_help().or(arg.get_help());
        text += &sentences(&help.map(ToString::to_string).unwrap_or_default());
        text += &values(arg);
    }
    text
}

/// `-v, --verbose`, `--root DIR`, `VMID`.
fn names(arg: &Arg) -> String {
    if arg.is_positional() {
        return italic(&value_names(arg));
    }
    let short = arg.get_short().map(|short| bold(&format!("-{short}")));
    let long = arg.get_long().map(|long| bold(&format!("--{long}")));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let mut text = names.join(", ");
    if arg.get_action().takes_values() {
        let _ = write!(text, " {}", italic(&value_names(arg)));
    }
    text
}

fn value_names(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<String> = names.iter().map(|name| name.to_uppercase()).collect();
    names.join(" ")
}

/// The words that an option takes, if it takes fixed ones.
fn values(arg: &Arg) -> String {
    let mut text = String::new();
    if !arg.get_action().takes_values() {
        return text;
    }
    for value in arg.get_possible_values() {
        if value.is_hide_set() {
            continue;
        }
        let help = value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(
            text,
            ".RS\n.TP\n{}\n{}\n.RE",
            bold(value.get_name()),
            escape(&help)
        );
    }
    text
}

/// Help text, paragraph by paragraph; the first sentence of an option has no full stop in `--help`.
fn sentences(help: &str) -> String {
    let mut text = String::new();
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let stop = if paragraph.ends_with(['.', ':']) {
            ""
        } else {
            "."
        };
        let _ = writeln!(text, "{}{stop}", escape(paragraph));
    }
    text
}
