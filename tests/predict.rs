//! What it is worth to be ready for peaks that come day after day: the whole agent, with its gates, cool-downs and
//! levers, on weeks of generated demand, with and without `predict`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end where what it needs is missing"
)]

use std::time::Duration;

use vm_autoscale::backtest::bill::{Bill, Prices};
use vm_autoscale::backtest::replay::Replay;
use vm_autoscale::backtest::trace::Demand;
use vm_autoscale::config::{CpuMethod, MemoryMethod, Settings, VmSettings};
use vm_autoscale::domain::{Cores, Mib, Moment, Resource};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEKS: i64 = 3;

/// Numbers that look drawn by chance, the same in every run.
struct Chance(u64);

impl Chance {
    /// A number between nothing and one.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 1_000_000) as f64 / 1e6
    }
}

/// A level for every second.
type Level<'a> = &'a mut dyn FnMut(&mut Chance, i64) -> f64;

/// Some weeks of a VM that is told minute by minute, and at the second at which its level changes. The first day is a Monday.
fn weeks(seed: u64, level: Level<'_>) -> Demand {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let points: Vec<(i64, f64)> = (0..WEEKS * 7 * DAY / MINUTE)
        .map(|minute| {
            let noise = 0.9 + 0.2 * chance.share();
            let level = level(&mut chance, minute * MINUTE);
            (minute * MINUTE * 1000, level * noise)
        })
        .collect();
    Demand::new(&points, Duration::from_secs(60)).unwrap()
}

fn works(second: i64) -> bool {
    second / DAY % 7 < 5
}

/// An office: from nine to five on working days, with a lunch, and a backup at two each night.
fn office(_: &mut Chance, second: i64) -> f64 {
    match second % DAY / (MINUTE * 30) {
        4 => 0.75,
        18..=23 | 26..=33 if works(second) => 0.65,
        24..=25 if works(second) => 0.3,
        _ => 0.1,
    }
}

/// The agent's bill on this demand, told in shares of the maximum.
fn bill(resource: Resource, demand: &Demand, predict: bool) -> Bill {
    let mut own = VmSettings::default();
    own.cpu.method = CpuMethod::Vcpus;
    own.memory.method = MemoryMethod::Balloon;
    (own.cpu.max, own.memory.max) = (Cores::whole(8), Mib::gib(16));
    (own.cpu.rule.predict, own.memory.rule.predict) = (predict, predict);
    let replay = Replay {
        resource,
        settings: &Settings::default(),
        own: &own,
        // Monday, 2026-11-16, 00:00 UTC.
        begin: Moment::from_millis(1_794_787_200_000),
    };
    Bill::of(demand, &replay.course(demand), Prices::of(resource))
}

fn most(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 8.0,
        Resource::Memory => 16.0 * 1024.0,
    }
}

/// The bills with and without, printed.
fn both(name: &str, resource: Resource, seed: u64, level: Level<'_>) -> (Bill, Bill) {
    let unit = most(resource);
    let demand = weeks(seed, &mut |chance, second| level(chance, second) * unit);
    let (with, without) = (
        bill(resource, &demand, true),
        bill(resource, &demand, false),
    );
    let told = |bill: &Bill| {
        format!(
            "cost {:.2}, unmet {:.4} h, {} changes",
            bill.cost, bill.unmet, bill.changes
        )
    };
    println!(
        "{name}, {resource}: with {}; without {}",
        told(&with),
        told(&without)
    );
    (with, without)
}

#[test]
fn an_office_is_short_less_often_and_costs_less() {
    for resource in Resource::ALL {
        for seed in 1..=2 {
            let (with, without) = both("office", resource, seed, &mut office);
            assert!(with.cost < without.cost);
            // What is left is the time until it is learned: three days of fifteen, and a weekend.
            assert!(with.unmet < without.unmet * 0.5);
        }
    }
}

/// Calm and busy by turns, of any length: nothing of it comes again.
fn restless() -> impl FnMut(&mut Chance, i64) -> f64 {
    let (mut level, mut until) = (0.1, 0);
    move |chance, second| {
        if second >= until {
            until = second + 600 + (chance.share() * 3.0 * HOUR as f64) as i64;
            level = if level > 0.2 {
                0.1
            } else {
                0.3 + chance.share() * 0.6
            };
        }
        level
    }
}

#[test]
fn a_vm_without_a_pattern_costs_what_it_cost() {
    for resource in Resource::ALL {
        for seed in 1..=2 {
            let (with, without) = both("restless", resource, seed, &mut restless());
            assert!(with.cost <= without.cost * 1.005);
        }
    }
}

#[test]
fn an_office_that_begins_at_another_hour_each_week_costs_hardly_more_than_it_did() {
    for resource in Resource::ALL {
        let mut moving = |chance: &mut Chance, second: i64| {
            office(chance, second + second / (7 * DAY) * 3 * HOUR)
        };
        let (with, without) = both("moving", resource, 1, &mut moving);
        assert!(with.cost <= without.cost * 1.01);
    }
}
