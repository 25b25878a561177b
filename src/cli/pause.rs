//! `vm-autoscale pause` and `resume`: an order to change nothing, for this node or the whole cluster.

use super::{Exit, fail};
use crate::cluster::{Mounted, pause};
use crate::domain::Moment;
use crate::observe::Pause;
use crate::pve::Layout;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For every node of the cluster, also those that are down now
    #[arg(long)]
    cluster: bool,
    /// Why, for whoever wonders later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// Take back the order to the whole cluster
    #[arg(long)]
    cluster: bool,
}

pub(super) fn pause(args: &Args, layout: &Layout) -> Exit {
    let order = Pause::new(&who(layout), Moment::now(), &args.reason, args.cluster);
    let (given, whom) = if args.cluster {
        let given = pause::pause_cluster(&Mounted::new(layout.clone()), &order);
        (given.map_err(|e| e.to_string()), "the whole cluster")
    } else {
        let path = layout.pause_file();
        let given = pause::pause_node(&path, &order);
        (
            given.map_err(|e| format!("{}: {e}", path.display())),
            "this node",
        )
    };
    match given {
        Ok(()) => {
            let flag = if args.cluster { " --cluster" } else { "" };
            anstream::println!(
                "{whom} changes no VM until `vm-autoscale resume{flag}`; a change in hand comes to its end"
            );
            Exit::Done
        }
        Err(why) => fail(format_args!("{whom} was not paused: {why}")),
    }
}

pub(super) fn resume(args: &ResumeArgs, layout: &Layout) -> Exit {
    let files = Mounted::new(layout.clone());
    let taken_back = if args.cluster {
        pause::resume_cluster(&files).map_err(|e| e.to_string())
    } else {
        let path = layout.pause_file();
        pause::resume_node(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let whom = if args.cluster {
        "the cluster"
    } else {
        "this node"
    };
    match taken_back {
        Ok(true) => anstream::println!("{whom} is resumed"),
        Ok(false) => anstream::println!("{whom} was not paused"),
        Err(why) => return fail(format_args!("{whom} is still paused: {why}")),
    }
    // The other order may still stand, which would surprise.
    let other = if args.cluster {
        pause::for_node(&layout.pause_file()).ok().flatten()
    } else {
        pause::for_cluster(&files).ok().flatten()
    };
    if let Some(order) = other {
        let (whom, flag) = if order.cluster {
            ("the whole cluster", " --cluster")
        } else {
            ("this node", "")
        };
        anstream::println!(
            "{whom} is still paused by {}: `vm-autoscale resume{flag}`",
            order.by
        );
    }
    Exit::Done
}

/// Who gives the order, as far as that can be told: the user behind sudo, and the node.
fn who(layout: &Layout) -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let user = user.unwrap_or_else(|_| "root".to_owned());
    match layout.node_name() {
        Ok(node) => format!("{user} on {node}"),
        Err(_) => user,
    }
}
