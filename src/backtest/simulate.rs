//! Lets a policy run against a demand, seeing only what an agent would see.
//!
//! Demand is constant between the samples of the trace. The policy ticks every `check_interval`. It sees CPU as
//! means over a second or over a longer stretch of constant usage, memory as it is at the tick, both clipped by
//! the allocation of that time, and never the future. What it wants takes effect one tick later.

use std::time::Duration;

use crate::config::ResourceSettings;
use crate::decide::policy::{Observation, Policy, Sample};
use crate::domain::{Moment, Resource};

use super::bill::{Course, Grid};
use super::trace::{Demand, Piece};

/// The seconds of a week.
const WEEK_S: i64 = 7 * 86_400;

/// How a policy is run.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Which resource the demand is of.
    pub resource: Resource,
    /// The sizes that can be had.
    pub grid: Grid,
    /// How often the policy decides.
    pub tick: Duration,
    /// The size at the start.
    pub start: f64,
    /// The thresholds of those policies that have them.
    pub settings: &'a ResourceSettings,
}

/// The course that `policy` takes through `demand`.
///
/// Where usage stays the same and the policy's answer stands, the next tick is the last one before either ends. A
/// policy cannot tell: it is told of the same usage over the whole time.
pub fn simulate(demand: &Demand, setup: Setup<'_>, policy: &mut dyn Policy) -> Course {
    let tick = i64::try_from(setup.tick.as_millis())
        .unwrap_or(i64::MAX)
        .max(1);
    let mut meter = Meter::new(demand);
    let mut course = vec![(0, setup.start)];
    let mut held = setup.start;
    let mut ordered = setup.start;
    let mut before = 0;
    let mut now = 0;
    while now < demand.end() {
        let past = held;
        if ordered != held {
            held = ordered;
            course.push((now, held));
        }
        let usage = match setup.resource {
            Resource::Cpu => meter.cpu(before, now, past),
            Resource::Memory => meter.memory(now, held),
        };
        let mut stands_until = now;
        if !usage.is_empty() {
            let seen = Observation {
                now: Moment::from_millis(now),
                // A history has no dates: its days and weeks begin with it.
                second_of_week: u32::try_from(now / 1000 % WEEK_S).unwrap_or(0),
                resource: setup.resource,
                usage,
                allocation: held,
                changing: false,
                short: false,
                min: setup.grid.min,
                max: setup.grid.top(),
                grain: setup.grid.grain,
                settings: setup.settings,
            };
            let want = policy.want(&seen);
            ordered = setup.grid.fit(want.amount);
            stands_until = want.stands_until.as_millis();
        }
        before = now;
        now += tick;
        // What was used under another allocation says nothing of what is used under this one.
        if ordered == held && past == held && stands_until > now {
            let constant_until = meter.constant_until(before, setup.resource);
            let target = stands_until.min(constant_until).min(demand.end());
            now += (target - now).max(0) / tick * tick;
        }
    }
    course
}

/// Reads usage off the demand.
pub(super) struct Meter<'a> {
    demand: &'a Demand,
    at: usize,
    samples: Vec<Sample>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(demand: &'a Demand) -> Self {
        Self {
            demand,
            at: 0,
            samples: Vec::new(),
        }
    }

    /// The last moment until which what was read at `now` tells all.
    pub(super) fn constant_until(&mut self, now: i64, resource: Resource) -> i64 {
        let piece = match resource {
            // The piece that was read last: a mean up to its very end is still the same.
            Resource::Cpu => self.demand.piece(self.at).map(|piece| piece.end),
            // A reading at its end is not.
            Resource::Memory => self.piece_at(now).map(|piece| piece.end - 1),
        };
        piece.unwrap_or(now)
    }

    /// Memory in use at `now` under the allocation `held`.
    pub(super) fn memory(&mut self, now: i64, held: f64) -> &[Sample] {
        self.samples.clear();
        if let Some(piece) = self.piece_at(now).filter(|piece| piece.start <= now) {
            self.samples.push(Sample {
                at: Moment::from_millis(now),
                span: Duration::ZERO,
                value: piece.value.min(held),
            });
        }
        &self.samples
    }

    /// The piece in which `time` lies.
    fn piece_at(&mut self, time: i64) -> Option<Piece> {
        loop {
            let piece = self.demand.piece(self.at)?;
            if time < piece.end {
                return Some(piece);
            }
            self.at += 1;
        }
    }

    /// CPU used from `before` to `now` under the allocation `held`: means over whole seconds; seconds of the same
    /// usage are one longer sample.
    pub(super) fn cpu(&mut self, before: i64, now: i64, held: f64) -> &[Sample] {
        self.samples.clear();
        let mut from = before;
        while from < now {
            let Some(piece) = self.piece_at(from) else {
                break;
            };
            if piece.start > from {
                // Not known of all the time, so not known.
                self.samples.clear();
                from = piece.start;
                continue;
            }
            let whole = (piece.end.min(now) - from) / 1000 * 1000;
            let (to, value) = if whole > 0 {
                (from + whole, piece.value.min(held))
            } else {
                let to = now.min(from + 1000);
                (to, self.mean(from, to, held))
            };
            self.samples.push(Sample {
                at: Moment::from_millis(to),
                span: Duration::from_millis(u64::try_from(to - from).unwrap_or(0)),
                value,
            });
            from = to;
        }
        &self.samples
    }

    /// The mean over one second in which the demand changes.
    fn mean(&mut self, from: i64, to: i64, held: f64) -> f64 {
        let mut sum = 0.0;
        let mut at = from;
        while at < to {
            let Some(piece) = self.piece_at(at) else {
                break;
            };
            at = at.max(piece.start);
            if at >= to {
                break;
            }
            let end = piece.end.min(to);
            sum += piece.value.min(held) * (end - at) as f64;
            at = end;
        }
        sum / (to - from).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backtest::baselines::{Hpa, Predecessor, Vpa};
    use crate::config::PolicyKind;
    use crate::decide::Reason;
    use crate::decide::policy::{State, Want};
    use crate::domain::Percent;

    const RULE: ResourceSettings = ResourceSettings::new(Percent::whole(80), Percent::whole(20));

    fn setup(resource: Resource) -> Setup<'static> {
        let grid = match resource {
            Resource::Cpu => Grid::coarse(resource, 8.0),
            Resource::Memory => Grid::coarse(resource, 8192.0),
        };
        Setup {
            resource,
            grid,
            tick: Duration::from_secs(5),
            start: grid.top(),
            settings: &RULE,
        }
    }

    fn steps(points: &[(i64, f64)], last_s: u64) -> Demand {
        let points: Vec<_> = points.iter().map(|(s, value)| (s * 1000, *value)).collect();
        Demand::new(&points, Duration::from_secs(last_s)).unwrap()
    }

    /// Wants exactly what it saw last, and remembers all it was told.
    #[derive(Default)]
    struct Mirror {
        told: Vec<(i64, Vec<(i64, f64)>)>,
    }

    impl Policy for Mirror {
        fn want(&mut self, seen: &Observation<'_>) -> Want {
            let sample = |s: &Sample| (i64::try_from(s.span.as_secs()).unwrap(), s.value);
            self.told.push((
                seen.now.as_millis() / 1000,
                seen.usage.iter().map(sample).collect(),
            ));
            Want {
                amount: seen.usage.last().unwrap().value,
                enough: seen.usage.last().unwrap().value,
                need: 0.0,
                reason: Reason::Fits,
                stands_until: seen.now,
            }
        }
    }

    #[test]
    fn a_rise_of_cpu_is_seen_at_the_next_tick_and_answered_one_tick_later() {
        let demand = steps(&[(0, 1.0), (60, 3.0)], 60);
        let course = simulate(&demand, setup(Resource::Cpu), &mut Mirror::default());
        // At 5 s the first usage is seen; at 10 s the answer takes effect. Then usage is clipped to one core.
        assert_eq!(course, [(0, 8.0), (10_000, 1.0)]);
    }

    #[test]
    fn memory_is_read_at_the_tick() {
        let demand = steps(&[(0, 4000.0), (60, 2000.0)], 60);
        let course = simulate(&demand, setup(Resource::Memory), &mut Mirror::default());
        assert_eq!(course, [(0, 8192.0), (5_000, 4096.0), (65_000, 2048.0)]);
    }

    #[test]
    fn cpu_is_told_second_by_second_and_clipped_to_what_the_vm_had() {
        let demand = steps(&[(0, 1.0), (5, 6.0), (7, 2.0), (8, 0.5)], 4);
        let mut mirror = Mirror::default();
        simulate(&demand, setup(Resource::Cpu), &mut mirror);
        assert_eq!(mirror.told[0], (5, vec![(5, 1.0)]));
        assert_eq!(mirror.told[1], (10, vec![(2, 6.0), (1, 2.0), (2, 0.5)]));
    }

    #[test]
    fn a_step_that_is_no_whole_second_is_told_as_means() {
        let points = [(0, 1.0), (500, 3.0), (1000, 1.0), (5_500, 2.0)];
        let demand = Demand::new(&points, Duration::from_millis(4_500)).unwrap();
        let mut mirror = Mirror::default();
        simulate(&demand, setup(Resource::Cpu), &mut mirror);
        assert_eq!(mirror.told[0], (5, vec![(1, 2.0), (4, 1.0)]));
    }

    /// Asks to be asked at every tick.
    struct EveryTick(Box<dyn Policy>);

    impl Policy for EveryTick {
        fn want(&mut self, seen: &Observation<'_>) -> Want {
            Want {
                stands_until: seen.now,
                ..self.0.want(seen)
            }
        }
    }

    type Make = Box<dyn Fn() -> Box<dyn Policy>>;

    fn policies() -> Vec<(&'static str, Make)> {
        vec![
            (
                "adaptive",
                Box::new(|| Box::new(State::new(PolicyKind::Adaptive))),
            ),
            (
                "threshold",
                Box::new(|| Box::new(State::new(PolicyKind::Threshold))),
            ),
            ("predecessor", Box::new(|| Box::<Predecessor>::default())),
            ("hpa", Box::new(|| Box::<Hpa>::default())),
            ("vpa", Box::new(|| Box::<Vpa>::default())),
        ]
    }

    /// Pieces of 1 s to 15 min, mostly around one level with bursts, as loads of computers are.
    fn demands(max: f64) -> impl Strategy<Value = Demand> {
        let length = prop_oneof![Just(1), Just(5), Just(60), Just(300), 1..900_i64];
        let share = prop_oneof![0.1..0.4_f64, 0.2..0.3_f64, 0.0..1.1_f64];
        proptest::collection::vec((length, share), 1..120).prop_map(move |pieces| {
            let mut at = 0;
            let points: Vec<_> = pieces
                .iter()
                .map(|(seconds, share)| {
                    let point = (at, (share * max * 1000.0).round() / 1000.0);
                    at += seconds;
                    point
                })
                .collect();
            steps(&points, 60)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn passing_over_ticks_at_which_nothing_changes_changes_nothing(demand in demands(8.0)) {
            let setup = setup(Resource::Cpu);
            for (name, make) in policies() {
                let quick = simulate(&demand, setup, make().as_mut());
                let slow = simulate(&demand, setup, &mut EveryTick(make()));
                prop_assert_eq!(quick, slow, "{}", name);
            }
        }

        #[test]
        fn the_same_holds_for_memory(demand in demands(8192.0)) {
            let setup = setup(Resource::Memory);
            for (name, make) in policies() {
                let quick = simulate(&demand, setup, make().as_mut());
                let slow = simulate(&demand, setup, &mut EveryTick(make()));
                prop_assert_eq!(quick, slow, "{}", name);
            }
        }

        #[test]
        fn the_same_holds_for_hours_of_the_same(
            pieces in proptest::collection::vec((1..20_000_i64, 0.0..1.1_f64), 1..8),
        ) {
            for resource in Resource::ALL {
                let setup = setup(resource);
                let mut at = 0;
                let points: Vec<_> = pieces.iter().map(|(seconds, share)| {
                    let point = (at, share * setup.grid.top());
                    at += seconds;
                    point
                }).collect();
                let demand = steps(&points, 3600);
                let mut policy = State::new(PolicyKind::Adaptive);
                let quick = simulate(&demand, setup, &mut policy);
                let each = EveryTick(Box::new(State::new(PolicyKind::Adaptive)));
                let slow = simulate(&demand, setup, &mut { each });
                prop_assert_eq!(quick, slow, "{:?}", resource);
            }
        }
    }

    /// Counts how often it is asked.
    struct Counted(State, usize);

    impl Policy for Counted {
        fn want(&mut self, seen: &Observation<'_>) -> Want {
            self.1 += 1;
            self.0.want(seen)
        }
    }

    #[test]
    fn calm_time_is_passed_over() {
        for (resource, demand) in [(Resource::Cpu, 1.5), (Resource::Memory, 3000.0)] {
            let mut policy = Counted(State::new(PolicyKind::Adaptive), 0);
            simulate(&steps(&[(0, demand)], 86_400), setup(resource), &mut policy);
            assert!(
                policy.1 < 500,
                "{resource}: asked {} times in a day",
                policy.1
            );
        }
    }
}
