//! The default policy stays as close to a clairvoyant as it was measured to be, on a selection of real workloads.
//!
//! The bounds are a little above the scores of today (`cargo bench --bench policy_scores` prints them, for all
//! policies). A change that passes one of them is a change for the worse and needs a reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end where what it needs is missing"
)]

use std::path::Path;

use vm_autoscale::backtest::bill::Bill;
use vm_autoscale::backtest::contest::{Contestant, Race};
use vm_autoscale::backtest::trace::Trace;
use vm_autoscale::config::PolicyKind;
use vm_autoscale::domain::Resource;

const ADAPTIVE: Contestant = Contestant::Ours(PolicyKind::Adaptive);

fn races(set: &str, resource: Resource) -> Vec<Race> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/traces")
        .join(set);
    let races: Vec<Race> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| {
            let trace = Trace::parse("trace", &std::fs::read_to_string(path).unwrap()).unwrap();
            Race::of(&trace)
        })
        .filter(|race| race.resource == resource)
        .collect();
    assert!(!races.is_empty());
    races
}

fn bills(races: &[Race], contestant: Contestant) -> Vec<Bill> {
    races
        .iter()
        .map(|race| race.bill(&race.run(contestant)))
        .collect()
}

fn score(set: &str, resource: Resource, contestant: Contestant) -> f64 {
    let races = races(set, resource);
    let scores = races
        .iter()
        .zip(bills(&races, contestant))
        .map(|(race, bill)| race.score(&bill));
    scores.sum::<f64>() / races.len() as f64
}

/// Bounds for the policy alone and for the whole agent, with its gates, cool-downs and levers.
fn stays_below(set: &str, resource: Resource, bound: f64) {
    for who in [ADAPTIVE, Contestant::Agent] {
        let score = score(set, resource, who);
        assert!(
            score < bound,
            "{set}, {resource}, {}: {score:.3}",
            who.name()
        );
    }
}

#[test]
fn adaptive_stays_near_the_oracle_on_servers() {
    stays_below("servers-60s", Resource::Cpu, 1.13);
    stays_below("servers-60s", Resource::Memory, 1.19);
}

#[test]
fn adaptive_stays_near_the_oracle_on_services() {
    stays_below("services-60s", Resource::Cpu, 1.18);
    stays_below("services-60s", Resource::Memory, 1.11);
}

#[test]
fn adaptive_stays_near_the_oracle_where_bursts_last_seconds() {
    stays_below("cluster-1s", Resource::Cpu, 1.19);
    stays_below("cluster-1s", Resource::Memory, 1.155);
}

#[test]
fn adaptive_stays_near_the_oracle_on_coarse_histories() {
    stays_below("vms-300s", Resource::Cpu, 1.13);
}

#[test]
fn adaptive_stays_near_the_oracle_on_calm_servers() {
    stays_below("calm-servers-60s", Resource::Cpu, 1.06);
    stays_below("calm-servers-60s", Resource::Memory, 1.05);
}

/// The bounds are for the whole agent, and for a day.
fn changes_stay_below(set: &str, bounds: [(Resource, f64); 2]) {
    for (resource, most) in bounds {
        let bills = bills(&races(set, resource), Contestant::Agent);
        let hours: f64 = bills.iter().map(|bill| bill.hours).sum();
        let changes: usize = bills.iter().map(|bill| bill.changes).sum();
        let per_day = changes as f64 * 24.0 / hours;
        assert!(per_day < most, "{set}, {resource}: {per_day:.1} a day");
    }
}

#[test]
fn a_calm_server_is_changed_less_than_forty_times_a_day() {
    changes_stay_below(
        "calm-servers-60s",
        [(Resource::Cpu, 40.0), (Resource::Memory, 20.0)],
    );
}

#[test]
fn a_restless_server_is_changed_no_more_than_its_load_pays_for() {
    // Who knows the future changes them 158 times.
    changes_stay_below(
        "servers-60s",
        [(Resource::Cpu, 160.0), (Resource::Memory, 10.0)],
    );
}

#[test]
fn no_shortage_of_memory_follows_from_a_shrink() {
    for set in [
        "servers-60s",
        "calm-servers-60s",
        "services-60s",
        "cluster-1s",
    ] {
        for who in [ADAPTIVE, Contestant::Agent] {
            let bills = bills(&races(set, Resource::Memory), who);
            let regretted: usize = bills.iter().map(|bill| bill.regretted).sum();
            assert_eq!(regretted, 0, "{set}, {}", who.name());
        }
    }
}
