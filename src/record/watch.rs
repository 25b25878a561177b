//! Turns verdicts into events: a problem is told once when it begins to matter, and once when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Settings;
use crate::decide::{Plan, Reason, Verdict};
use crate::domain::{Moment, Reading, Resource, VmId};
use crate::observe::Snapshot;

use super::{Event, EventKind, VmRef};

/// A shortage that ends within this time is not worth a message.
const SUSTAINED: Duration = Duration::from_secs(60);
/// A VM that cannot be measured for so long does not just start, stop or migrate.
const UNMEASURED: Duration = Duration::from_secs(20);

/// A problem that is going on.
#[derive(Debug, Clone)]
struct Problem {
    since: Moment,
    told: bool,
    kind: EventKind,
}

/// What is wrong now, by a stable word for it.
#[derive(Debug, Default)]
pub struct Watch {
    problems: BTreeMap<String, (Option<VmRef>, Problem)>,
}

impl Watch {
    /// Compares a tick with the ones before it and returns what is worth telling.
    pub fn look(&mut self, snapshot: &Snapshot, plan: &Plan, settings: &Settings) -> Vec<Event> {
        let now = snapshot.at;
        let mut seen = BTreeMap::new();
        if let Some(kind) = cluster_problem(snapshot) {
            seen.insert("quorum".to_owned(), (None, kind));
        }
        for verdict in &plan.verdicts {
            if let Some((what, kind)) = problem(verdict, settings) {
                let tags = snapshot
                    .vms
                    .get(&verdict.vm)
                    .map(|vm| vm.tags.clone())
                    .unwrap_or_default();
                let vm = VmRef {
                    id: verdict.vm,
                    name: verdict.name.clone(),
                    tags,
                };
                seen.insert(what, (Some(vm), kind));
            }
        }
        let mut events = self.ended(&seen, now, snapshot);
        for (what, (vm, kind)) in seen {
            let fresh = Problem {
                since: now,
                told: false,
                kind: kind.clone(),
            };
            let (vm, problem) = self.problems.entry(what).or_insert((vm, fresh));
            problem.kind = kind;
            let patience = patience(&problem.kind, vm.is_some());
            if !problem.told && now.since(problem.since) >= patience {
                problem.told = true;
                let kind = problem.kind.clone();
                events.push(Event {
                    at: now,
                    node: snapshot.node.clone(),
                    vm: vm.clone(),
                    kind,
                });
            }
        }
        events
    }

    /// Forgets what is over; what had been told is told to be over.
    fn ended(
        &mut self,
        seen: &BTreeMap<String, (Option<VmRef>, EventKind)>,
        now: Moment,
        snapshot: &Snapshot,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        self.problems.retain(|what, (vm, problem)| {
            let goes_on = seen.contains_key(what);
            if !goes_on && problem.told {
                let kind = EventKind::Recovered {
                    what: what.clone(),
                    after: now.since(problem.since),
                };
                events.push(Event {
                    at: now,
                    node: snapshot.node.clone(),
                    vm: vm.clone(),
                    kind,
                });
            }
            goes_on
        });
        events
    }
}

/// How long a problem must last before it is told.
fn patience(kind: &EventKind, of_a_vm: bool) -> Duration {
    match kind {
        EventKind::Degraded { .. } if of_a_vm => UNMEASURED,
        EventKind::Degraded { .. } => Duration::ZERO,
        _ => SUSTAINED,
    }
}

fn cluster_problem(snapshot: &Snapshot) -> Option<EventKind> {
    let why = match &snapshot.cluster.quorate {
        Reading::Known { value: true, .. } => return None,
        Reading::Known { value: false, .. } => {
            "the cluster has no quorum: nothing is changed until it is back".into()
        }
        Reading::Unknown(why) => format!("/etc/pve: {why}: nothing is changed until it is back"),
    };
    Some(EventKind::Degraded {
        what: "quorum".into(),
        why,
    })
}

/// The problem that a verdict speaks of, if any, with a stable word for it.
fn problem(verdict: &Verdict, settings: &Settings) -> Option<(String, EventKind)> {
    let resource = verdict.resource;
    let word = |kind: &str| word(verdict.vm, resource, kind);
    let degraded =
        |what: String, why: String| Some((what.clone(), EventKind::Degraded { what, why }));
    match &verdict.reason {
        Reason::AtMax { max } => {
            let why = format!("raise {}.max if it is to have more", key(resource));
            Some((
                word("max"),
                EventKind::WantsMore {
                    resource,
                    wants: verdict.wanted?,
                    limit: *max,
                    why,
                },
            ))
        }
        Reason::AtCeiling { ceiling } => {
            let why = format!(
                "`vm-autoscale prepare {}` raises what it can have",
                verdict.vm
            );
            Some((
                word("ceiling"),
                EventKind::WantsMore {
                    resource,
                    wants: verdict.wanted?,
                    limit: *ceiling,
                    why,
                },
            ))
        }
        Reason::HostFull { resource, free } | Reason::WaitsForRoom { resource, free, .. } => {
            let limit = match resource {
                Resource::Cpu => match settings.host.cpu_overcommit {
                    None => format!("host.max_cpu is {}", settings.host.max_cpu),
                    Some(ratio) => format!(
                        "host.max_cpu is {}, host.cpu_overcommit {ratio}",
                        settings.host.max_cpu
                    ),
                },
                Resource::Memory => format!(
                    "host.max_memory is {}, host.reserve_memory {}",
                    settings.host.max_memory, settings.host.reserve_memory
                ),
            };
            let why = format!("{free} free under the limits ({limit}), a VM wants more");
            Some((
                format!("host-{}", key(*resource)),
                EventKind::HostLimit {
                    resource: *resource,
                    why,
                },
            ))
        }
        Reason::FitsNowhereElse { most, node } => {
            let why = format!(
                "no other node could take it with more ({node} could give it most): see host.fit_elsewhere"
            );
            Some((
                word("elsewhere"),
                EventKind::WantsMore {
                    resource,
                    wants: verdict.wanted?,
                    limit: *most,
                    why,
                },
            ))
        }
        Reason::Unmeasured { why } | Reason::NoLever { why } => degraded(
            word("unmeasured"),
            format!("{resource} is left alone: {why}"),
        ),
        Reason::Unreadable { why } | Reason::BadSettings { why } if resource == Resource::Cpu => {
            degraded(
                format!("vm-{}-unreadable", verdict.vm),
                format!("left alone: {why}"),
            )
        }
        _ => None,
    }
}

fn word(vm: VmId, resource: Resource, kind: &str) -> String {
    format!("vm-{vm}-{}-{kind}", key(resource))
}

fn key(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
    }
}
