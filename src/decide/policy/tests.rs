//! What holds for every policy, whatever it is told.

use proptest::prelude::*;

use super::*;
use crate::domain::Percent;

const RULE: ResourceSettings = ResourceSettings::new(Percent::whole(80), Percent::whole(20));
const KINDS: [PolicyKind; 2] = [PolicyKind::Adaptive, PolicyKind::Threshold];
const TICK: Duration = Duration::from_secs(5);
/// How often an agent may look.
const LOOKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), TICK];

/// The second of the week of a node that goes by UTC.
fn second_of_week(now: Moment) -> u32 {
    crate::config::Zone::default().second_of_week(now)
}

/// A VM under a policy, whose wants are fulfilled a tick later.
struct Vm {
    policy: State,
    resource: Resource,
    now: Moment,
    look: Duration,
    allocation: f64,
    limits: (f64, f64, f64),
}

impl Vm {
    fn new(kind: PolicyKind, resource: Resource) -> Self {
        let limits = match resource {
            Resource::Cpu => (1.0, 8.0, 1.0),
            Resource::Memory => (1024.0, 16_384.0, 64.0),
        };
        Self {
            policy: State::new(kind),
            resource,
            now: Moment::from_millis(1_800_000_000_000),
            look: TICK,
            allocation: limits.1,
            limits,
        }
    }

    fn tell(&mut self, used: f64, short: bool) -> Want {
        self.now = self.now + self.look;
        let sample = Sample {
            at: self.now,
            span: if self.resource == Resource::Cpu {
                self.look
            } else {
                Duration::ZERO
            },
            value: used,
        };
        self.ask(&[sample], short)
    }

    fn ask(&mut self, usage: &[Sample], short: bool) -> Want {
        let (min, max, grain) = self.limits;
        self.policy.want(&Observation {
            now: self.now,
            second_of_week: second_of_week(self.now),
            resource: self.resource,
            usage,
            allocation: self.allocation,
            changing: false,
            short,
            min,
            max,
            grain,
            settings: &RULE,
        })
    }

    /// One tick with a demand; returns what is held afterwards.
    fn live(&mut self, demand: f64) -> f64 {
        let want = self.tell(demand.min(self.allocation), false);
        let (min, max, grain) = self.limits;
        self.allocation = ((want.amount / grain - 1e-9).ceil() * grain).clamp(min, max);
        self.allocation
    }
}

fn resources() -> impl Strategy<Value = Resource> {
    prop_oneof![Just(Resource::Cpu), Just(Resource::Memory)]
}

/// Shares of the maximum: levels with bursts, as loads are, and anything else.
fn shares() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(prop_oneof![0.1..0.3_f64, 0.0..1.5_f64], 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_input_gives_the_same_want(resource in resources(), shares in shares()) {
        for kind in KINDS {
            let (mut one, mut other) = (Vm::new(kind, resource), Vm::new(kind, resource));
            for share in &shares {
                let demand = share * one.limits.1;
                prop_assert_eq!(one.live(demand), other.live(demand));
            }
        }
    }

    #[test]
    fn what_was_learned_survives_being_stored(
        resource in resources(),
        shares in shares(),
        look in prop::sample::select(&LOOKS),
    ) {
        for kind in KINDS {
            let mut vm = Vm { look, ..Vm::new(kind, resource) };
            shares.iter().for_each(|share| { vm.live(share * vm.limits.1); });
            let stored = serde_json::to_string(&vm.policy).unwrap();
            prop_assert!(stored.len() < 64 * 1024, "{} bytes", stored.len());
            let policy = serde_json::from_str(&stored).unwrap();
            let mut restored = Vm { policy, ..vm };
            for share in shares.iter().rev() {
                let demand = share * vm.limits.1;
                prop_assert_eq!(restored.live(demand), vm.live(demand));
            }
        }
    }

    #[test]
    fn who_uses_nothing_is_given_nothing_more(resource in resources(), shares in shares()) {
        for kind in KINDS {
            let mut vm = Vm::new(kind, resource);
            shares.iter().for_each(|share| { vm.live(share * vm.limits.1); });
            let before = vm.allocation;
            let after = vm.live(0.0);
            prop_assert!(after <= before);
        }
    }
}

proptest! {
    // Days of ticks.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_constant_load_ends_in_a_constant_allocation(
        resource in resources(),
        shares in shares(),
        load in 0.0..1.2_f64,
    ) {
        for kind in KINDS {
            let mut vm = Vm::new(kind, resource);
            let max = vm.limits.1;
            shares.iter().for_each(|share| { vm.live(share * max); });
            // Four days, the longest for which anything is held.
            (0..4 * 86_400 / 5).for_each(|_| { vm.live(load * max); });
            let settled = vm.allocation;
            (0..1000).for_each(|_| { vm.live(load * max); });
            prop_assert_eq!(vm.allocation, settled, "{:?}", kind);
            prop_assert!(settled >= (load * max).min(max) - 1e-6, "{:?} is short for ever", kind);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_want_is_a_number_within_the_limits_whatever_is_told(
        resource in resources(),
        told in proptest::collection::vec(
            (any::<f64>(), any::<bool>(), any::<f64>(), any::<i64>(), 0.0..1e6_f64, 0.0..1e6_f64, any::<f64>()),
            1..40,
        ),
    ) {
        for kind in KINDS {
            let mut vm = Vm::new(kind, resource);
            for (used, short, allocation, clock, min, more, grain) in &told {
                vm.allocation = *allocation;
                vm.now = Moment::from_millis(*clock / 2);
                vm.limits = (*min, min + more, *grain);
                let want = vm.tell(*used, *short);
                prop_assert!(want.amount.is_finite() && want.need.is_finite());
                prop_assert!(want.amount >= *min && want.amount <= min + more);
            }
        }
    }
}

#[test]
fn adaptive_holds_a_core_that_is_wanted_again_every_other_minute() {
    let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Cpu);
    let minute = |n: i32| if n % 3 == 0 { 2.5 } else { 1.5 };
    let mut held = Vec::new();
    for n in 0..120 {
        (0..12).for_each(|_| held.push(vm.live(minute(n))));
    }
    let last_hour = &held[60 * 12..];
    assert!(last_hour.iter().all(|cores| *cores == 3.0), "{last_hour:?}");
}

#[test]
fn adaptive_gives_back_a_core_that_is_wanted_once_an_hour() {
    let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Cpu);
    let demand = |minute: i32| if minute % 60 < 5 { 3.5 } else { 0.5 };
    let mut held = Vec::new();
    for minute in 0..600 {
        (0..12).for_each(|_| held.push(vm.live(demand(minute))));
    }
    let mean = held[300 * 12..].iter().sum::<f64>() / (300.0 * 12.0);
    assert!(mean < 1.6, "holds {mean} cores on average");
}

#[test]
fn adaptive_reaches_eight_cores_from_one_in_three_changes() {
    let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Cpu);
    (0..400).for_each(|_| {
        vm.live(0.3);
    });
    assert_eq!(vm.allocation, 1.0);
    let mut sizes = vec![1.0];
    for _ in 0..20 {
        let size = vm.live(7.5);
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    assert_eq!(vm.allocation, 8.0);
    assert!(sizes.len() <= 4, "{sizes:?}");
}

#[test]
fn adaptive_does_not_run_after_bursts_of_a_second() {
    for look in [1, 3, 5] {
        let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Cpu);
        let mut changes = 0;
        for at in (0..5 * 3600).step_by(look) {
            vm.now = vm.now + Duration::from_secs(look as u64);
            let seconds: Vec<Sample> = (at..at + look)
                .map(|second| Sample {
                    at: vm.now,
                    span: Duration::from_secs(1),
                    value: if second % 60 == 0 {
                        4.0_f64.min(vm.allocation)
                    } else {
                        0.4
                    },
                })
                .collect();
            let next = vm.ask(&seconds, false).amount.ceil();
            changes += usize::from(at > 3600 && next != vm.allocation);
            vm.allocation = next;
        }
        assert!(
            changes <= 8,
            "a look in {look} s: {changes} changes in four hours"
        );
    }
}

#[test]
fn adaptive_keeps_a_lone_peak_for_half_of_the_rest_and_a_few_changes_worth() {
    for (peak, minutes) in [(15_000.0, 8..9), (4200.0, 10..13), (3900.0, 20..24)] {
        let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Memory);
        let per_minute = 60 / TICK.as_secs();
        (0..300 * per_minute).for_each(|_| {
            vm.live(2000.0);
        });
        (0..2 * per_minute).for_each(|_| {
            vm.live(peak);
        });
        let held = vm.allocation;
        assert!(held >= peak, "{held}");
        let kept = (0..).find(|_| vm.live(2000.0) < held);
        let kept = kept.unwrap_or(0) / per_minute;
        assert!(minutes.contains(&kept), "{peak} MiB for {kept} minutes");
    }
}

#[test]
fn a_guest_that_nobody_looked_at_for_long_is_watched_before_anything_is_taken() {
    for unseen in [310, 470, 590, 700] {
        let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Memory);
        (0..3600 / TICK.as_secs()).for_each(|_| {
            vm.live(10_000.0);
        });
        let held = vm.allocation;
        vm.now = vm.now + Duration::from_secs(unseen);
        let seconds = (0..).find(|_| vm.live(2000.0) < held).unwrap_or(0) * TICK.as_secs();
        assert!(seconds >= 175, "{unseen} s unseen: taken after {seconds} s");
    }
}

#[test]
fn a_guest_that_was_in_distress_is_not_soon_what_it_was_before() {
    let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Memory);
    (0..600 / TICK.as_secs()).for_each(|_| {
        vm.live(3000.0);
    });
    let before = vm.allocation;
    // It runs out of memory before its statistics say so, and a program is killed for it.
    vm.allocation = vm.tell(3000.0, true).amount;
    let held = vm.allocation;
    assert!(held > 1.4 * before, "{held}");
    let seconds = (0..).find(|_| vm.live(3000.0) < held).unwrap_or(0) * TICK.as_secs();
    assert!((900..1200).contains(&seconds), "{seconds} s");
}

#[test]
fn what_is_wanted_beyond_all_is_not_guessed_higher_while_no_growth_is_let_through() {
    let mut vm = Vm::new(PolicyKind::Adaptive, Resource::Cpu);
    vm.limits.1 = 64.0;
    vm.allocation = 1.0;
    assert_eq!(vm.live(64.0), 2.0);
    // A cool-down.
    for _ in 0..10 {
        assert_eq!(vm.tell(2.0, false).amount, 8.0);
    }
}
