//! `pvesh`: the API on the command line, in the same process and as root.
//!
//! Source: `pve-manager: PVE/CLI/pvesh.pm`.

use serde_json::Value;

use super::api::{self, Method};
use super::failure::{DIE, Done, EARLY, Failure};
use super::options::{self, Takes, spec};
use super::output::Format;
use super::session::Session;

/// Exit code when no such method exists.
const NO_HANDLER: u8 = 1;

/// Commands and what follows them in the usage.
const COMMANDS: &[(&str, &str)] = &[
    ("create", "<api_path> [OPTIONS] [FORMAT_OPTIONS]"),
    ("delete", "<api_path> [OPTIONS] [FORMAT_OPTIONS]"),
    ("get", "<api_path> [OPTIONS] [FORMAT_OPTIONS]"),
    ("set", "<api_path> [OPTIONS] [FORMAT_OPTIONS]"),
];

/// Runs one command line.
pub(crate) fn run(session: &Session, args: &[String]) -> Done<u8> {
    let mut noproxy = false;
    let mut quiet = false;
    let mut args = args;
    while let Some((first, rest)) = args.split_first() {
        match first.as_str() {
            "--noproxy" => noproxy = true,
            "--nooutput" => quiet = true,
            _ => break,
        }
        args = rest;
    }
    let Some((command, rest)) = args.split_first() else {
        return Ok(usage(session, "no command specified"));
    };
    let Some((name, _)) = COMMANDS.iter().find(|(name, _)| name == command) else {
        return Ok(usage(
            session,
            &format!("unknown command 'pvesh {command}'"),
        ));
    };
    // The method is looked up before the options are read, since it decides which options there are.
    let Some(path) = rest.first() else {
        return Err(with_usage(
            session,
            name,
            Failure::unparsable("not enough arguments"),
        ));
    };
    let Some(method) = Method::find(name, path) else {
        session.warn(&format!("No '{name}' handler defined for '{path}'\n"));
        return Ok(NO_HANDLER);
    };
    let done = call(session, &method, rest, noproxy);
    let (data, format, asked_quiet) = done.map_err(|failure| with_usage(session, name, failure))?;
    if !quiet && !asked_quiet {
        session.print(&format.render(&data));
    }
    Ok(0)
}

fn call(
    session: &Session,
    method: &Method,
    args: &[String],
    noproxy: bool,
) -> Done<(Value, Format, bool)> {
    let mut specs = method.specs();
    specs.extend(
        ["noproxy", "quiet", "human-readable", "noborder", "noheader"]
            .map(|name| spec(name, Takes::Flag)),
    );
    specs.push(spec("output-format", Takes::Value));
    let mut parsed = options::parse(&specs, args, |complaint| session.warn(complaint))?;
    let [_path] = options::positional(&mut parsed)?;
    let format = parsed
        .take("output-format")
        .map_or(Ok(Format::Text), |name| Format::named(&name));
    let format = format
        .map_err(|why| Failure::parameters(vec![("output-format".to_owned(), why)], EARLY))?;
    let quiet = parsed.take_flag("quiet");
    for name in ["noproxy", "human-readable", "noborder", "noheader"] {
        parsed.take(name);
    }
    if let Method::Node(node, _) = method
        && node != session.node()
        && node != "localhost"
    {
        return Err(if noproxy {
            Failure::died("proxy loop detected - aborting")
        } else {
            api::unreachable(session, node)
        });
    }
    Ok((method.call(session, parsed)?, format, quiet))
}

fn usage(session: &Session, reason: &str) -> u8 {
    let lines = COMMANDS
        .iter()
        .map(|(name, arguments)| format!("       pvesh {name} {arguments}\n"));
    let text: String = lines.collect();
    session.warn(&format!(
        "ERROR: {reason}\nUSAGE: pvesh <COMMAND> [ARGS] [OPTIONS]\n\n{text}"
    ));
    DIE
}

fn with_usage(session: &Session, name: &str, failure: Failure) -> Failure {
    if !matches!(failure, Failure::BadRequest { .. }) {
        return failure;
    }
    session.warn(&format!(
        "{}pvesh {name} <api_path> [OPTIONS] [FORMAT_OPTIONS]\n",
        failure.text()
    ));
    Failure::Injected(failure.code())
}
