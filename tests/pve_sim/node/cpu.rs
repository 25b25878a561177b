//! Who gets the node's CPU: quotas, weights, throttling, stall times. Pure.

/// What a VM asks for and what it may have, for one step of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Claim {
    /// What its online vCPUs would use if nobody held them back, in cores.
    pub(crate) runnable: f64,
    /// Its quota in cores.
    pub(crate) limit: Option<f64>,
    /// Its weight (`cpu.weight`).
    pub(crate) weight: f64,
}

/// Shares `capacity` cores among `claims` by weight; what one does not use, the others get.
pub(crate) fn share_out(capacity: f64, claims: &[Claim]) -> Vec<f64> {
    let wants: Vec<f64> = claims
        .iter()
        .map(|claim| claim.runnable.min(claim.limit.unwrap_or(f64::INFINITY)))
        .collect();
    let mut got = vec![0.0; claims.len()];
    let mut left = capacity.max(0.0);
    let mut open: Vec<usize> = (0..claims.len()).collect();
    while !open.is_empty() && left > 1e-9 {
        let weights: f64 = open.iter().map(|&i| claims[i].weight).sum();
        let fair = |i: usize| left * claims[i].weight / weights;
        let (sated, hungry): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|&&i| wants[i] <= fair(i));
        if sated.is_empty() {
            for &i in &hungry {
                got[i] = fair(i);
            }
            break;
        }
        for &i in &sated {
            got[i] = wants[i];
        }
        left -= sated.iter().map(|&i| wants[i]).sum::<f64>();
        open = hungry;
    }
    got
}

/// `cpu.max` as the kernel prints it (`max 100000`, `150000 100000`): the quota in cores and the period in µs.
/// `None` if it is not of that form.
pub(crate) fn parse_cpu_max(text: &str) -> Option<(Option<f64>, f64)> {
    let mut words = text.split_whitespace();
    let quota = words.next()?;
    let period: f64 = words
        .next()
        .map_or(Some(100_000.0), |word| word.parse().ok())?;
    if quota == "max" {
        return Some((None, period));
    }
    Some((Some(quota.parse::<f64>().ok()? / period), period))
}

/// The counters of `cpu.stat`, in µs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuStat {
    /// CPU time used.
    pub(crate) usage: f64,
    /// Periods of the quota in which it ran.
    pub(crate) periods: f64,
    /// Those in which the quota ran out.
    pub(crate) throttled_periods: f64,
    /// How long its CPUs stood still for that, added up over CPUs.
    pub(crate) throttled: f64,
}

impl CpuStat {
    /// Counts `dt` seconds in which `claim` was made and `used` cores were used.
    pub(crate) fn advance(&mut self, claim: Claim, used: f64, period: f64, dt: f64) {
        self.usage += used * dt * 1e6;
        let Some(limit) = claim.limit else { return };
        if claim.runnable > 0.0 {
            self.periods += dt * 1e6 / period;
        }
        if claim.runnable > limit {
            self.throttled_periods += dt * 1e6 / period;
            self.throttled += (claim.runnable - limit) * dt * 1e6;
        }
    }

    /// The file's text. The quota's counters are always there on a node with the cpu controller on.
    pub(crate) fn text(&self) -> String {
        let usage = self.usage as u64;
        let user = (self.usage * 0.9) as u64;
        format!(
            "usage_usec {usage}\nuser_usec {user}\nsystem_usec {}\nnice_usec 0\ncore_sched.force_idle_usec 0\n\
             nr_periods {}\nnr_throttled {}\nthrottled_usec {}\nnr_bursts 0\nburst_usec 0\n",
            usage - user,
            self.periods as u64,
            self.throttled_periods as u64,
            self.throttled as u64,
        )
    }
}

/// One pressure-stall file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pressure {
    some: Stall,
    full: Stall,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stall {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total_us: f64,
}

impl Stall {
    /// The kernel's running averages: exponential, in percent.
    fn advance(&mut self, share: f64, dt: f64) {
        let share = share.clamp(0.0, 1.0);
        for (average, window) in [
            (&mut self.avg10, 10.0),
            (&mut self.avg60, 60.0),
            (&mut self.avg300, 300.0),
        ] {
            let keep = f64::exp(-dt / window);
            *average = *average * keep + share * 100.0 * (1.0 - keep);
        }
        self.total_us += share * dt * 1e6;
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name} avg10={:.2} avg60={:.2} avg300={:.2} total={}\n",
            self.avg10, self.avg60, self.avg300, self.total_us as u64
        )
    }
}

impl Pressure {
    /// Counts `dt` seconds in which some, and all, tasks stood still for these shares of the time.
    pub(crate) fn advance(&mut self, some: f64, full: f64, dt: f64) {
        self.some.advance(some, dt);
        self.full.advance(full, dt);
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        self.some.line("some") + &self.full.line("full")
    }

    /// Running averages over 10 s in percent: some, full.
    pub(crate) fn avg10(&self) -> (f64, f64) {
        (self.some.avg10, self.full.avg10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(runnable: f64, limit: Option<f64>, weight: f64) -> Claim {
        Claim {
            runnable,
            limit,
            weight,
        }
    }

    #[test]
    fn what_one_vm_leaves_the_others_get_by_weight() {
        let claims = [
            claim(1.0, None, 100.0),
            claim(8.0, None, 100.0),
            claim(8.0, None, 200.0),
        ];
        assert_eq!(share_out(10.0, &claims), vec![1.0, 3.0, 6.0]);
    }

    #[test]
    fn a_quota_is_obeyed_on_an_idle_node() {
        assert_eq!(share_out(16.0, &[claim(4.0, Some(1.5), 100.0)]), vec![1.5]);
    }
}
