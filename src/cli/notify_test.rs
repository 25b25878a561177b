//! `notify-test`: sends a real message through each channel and shows each one's answer.

use std::path::PathBuf;

use serde::Serialize;

use super::output::OutputFormat;
use super::{Exit, fail, show};
use crate::cluster;
use crate::notify::{self, Answer, Surroundings};
use crate::pve::Layout;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this one; `heartbeat` is the dead-man's switch
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,
}

/// What came of one channel.
#[derive(Serialize)]
struct Tested {
    channel: String,
    #[serde(flatten)]
    answer: Answer,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let settings = match cluster::settings_in_force(layout) {
        Ok(settings) => settings.notify,
        Err(error) => return fail(error),
    };
    let node = match layout.node_name() {
        Ok(node) => node,
        Err(error) => return fail(error),
    };
    if settings.channels.is_empty() && settings.heartbeat.is_none() && args.channel.is_none() {
        return fail(
            "no notification channels: add one under notify.channels in the configuration",
        );
    }
    let around = Surroundings {
        node,
        root: layout.root().to_owned(),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start: {error}")),
    };
    let only = args.channel.as_deref();
    let answers = match runtime.block_on(notify::test(&settings, only, &around)) {
        Ok(answers) => answers,
        Err(error) => return fail(error),
    };
    let tested: Vec<Tested> = answers
        .into_iter()
        .map(|(channel, answer)| Tested { channel, answer })
        .collect();
    let worked = tested
        .iter()
        .all(|tested| tested.answer == Answer::Delivered);
    match show(format, &tested, || text(&tested)) {
        Exit::Done if !worked => Exit::Failed,
        exit => exit,
    }
}

fn text(tested: &[Tested]) -> String {
    let line = |tested: &Tested| match tested.answer.why() {
        None => format!("{}: delivered\n", tested.channel),
        Some(why) => format!("{}: FAILED: {why}\n", tested.channel),
    };
    tested.iter().map(line).collect()
}
