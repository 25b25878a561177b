//! Puts back what a VM's settings were before the agent changed them, and reads them back.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::Baseline;
use crate::domain::{Mib, VmId};
use crate::pve::{Qm, VmConfig};

/// One step: options to set, or one to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// `qm set VMID --option value …`.
    Set(Vec<(&'static str, String)>),
    /// `qm set VMID --delete option`.
    Delete(&'static str),
}

impl Step {
    /// The step as an admin would type it.
    pub fn command(&self, vm: VmId) -> String {
        match self {
            Self::Set(options) => {
                let words = options
                    .iter()
                    .map(|(option, value)| format!(" --{option} {value}"));
                format!("qm set {vm}{}", words.collect::<String>())
            }
            Self::Delete(option) => format!("qm set {vm} --delete {option}"),
        }
    }

    /// The options that it changes.
    fn options(&self) -> Vec<&'static str> {
        match self {
            Self::Set(options) => options.iter().map(|(option, _)| *option).collect(),
            Self::Delete(option) => vec![option],
        }
    }
}

/// What has to be done so that `config` says again what `baseline` says, in order.
///
/// `shares` comes first: with it back, `balloon` is pvestatd's lower limit again and takes nothing from the guest. An
/// error says why the balloon cannot be put back now: with `shares: 0` in the baseline it is a size, and would leave the
/// guest less than the `floor` it needs.
pub fn steps(
    config: &VmConfig,
    baseline: &Baseline,
    floor: Option<Mib>,
) -> (Vec<Step>, Option<String>) {
    let mut steps = Vec::new();
    let mut step = |option: &'static str, was: Option<String>, is: Option<String>| {
        if was != is {
            steps.push(match was {
                Some(value) => Step::Set(vec![(option, value)]),
                None => Step::Delete(option),
            });
        }
    };
    fn text<T: ToString>(value: Option<T>) -> Option<String> {
        value.map(|value| value.to_string())
    }
    let mib = |value: Option<Mib>| text(value.map(|mib| mib.0));
    step("shares", text(baseline.shares), text(config.shares));
    let squeezes = match (baseline.shares, baseline.balloon, floor) {
        (Some(0), Some(size), Some(floor)) => size < floor,
        _ => false,
    };
    let mut kept = None;
    if squeezes && baseline.balloon != config.balloon {
        kept = baseline.balloon.zip(floor).map(|(size, floor)| {
            format!("balloon stays: it was {size}, and the guest needs {floor} now")
        });
    } else {
        step("balloon", mib(baseline.balloon), mib(config.balloon));
    }
    step("cpulimit", text(baseline.cpulimit), text(config.cpulimit));
    step("vcpus", text(baseline.vcpus), text(config.vcpus));
    (steps, kept)
}

/// How long settings may take to be read back as they were set.
const SETTLE: Duration = Duration::from_secs(5);

/// Carries out `steps`. Returns what could not be put back, a sentence each.
pub async fn put_back(
    qm: &Qm,
    vm: VmId,
    steps: &[Step],
    read: impl AsyncFn() -> Result<VmConfig, String>,
) -> Vec<String> {
    let mut failed = Vec::new();
    for step in steps {
        let done = match step {
            Step::Set(options) => qm.set(vm, options).await,
            Step::Delete(option) => qm.delete(vm, option).await,
        };
        if let Err(e) = done {
            failed.push(e.to_string());
        }
    }
    let options: Vec<&str> = steps.iter().flat_map(Step::options).collect();
    let deadline = Instant::now() + SETTLE;
    loop {
        let waiting = match read().await {
            Ok(config) => {
                let waits = |option: &&&str| config.pending.iter().any(|p| p == **option);
                options
                    .iter()
                    .find(waits)
                    .map(|option| format!("{option} waits for a power cycle"))
            }
            Err(why) => Some(format!("the settings cannot be read back: {why}")),
        };
        match waiting {
            None => return failed,
            Some(why) if Instant::now() >= deadline => {
                failed.push(why);
                return failed;
            }
            Some(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Moment;

    fn commands(was: &str, is: &str, floor: Option<Mib>) -> (Vec<String>, Option<String>) {
        let baseline = Baseline::of(&VmConfig::parse(was), Moment::from_millis(0));
        let (steps, kept) = steps(&VmConfig::parse(is), &baseline, floor);
        let vm = "101".parse().unwrap();
        (steps.iter().map(|step| step.command(vm)).collect(), kept)
    }

    #[test]
    fn the_shares_come_back_before_the_balloon() {
        let (steps, kept) = commands(
            "memory: 4096\nballoon: 1024\nvcpus: 1\n",
            "memory: 4096\nballoon: 3072\nshares: 0\nvcpus: 4\ncpulimit: 2\n",
            Some(Mib(2500)),
        );
        assert_eq!(
            steps,
            [
                "qm set 101 --delete shares",
                "qm set 101 --balloon 1024",
                "qm set 101 --delete cpulimit",
                "qm set 101 --vcpus 1",
            ]
        );
        assert_eq!(kept, None, "with shares it is only pvestatd's lower limit");
    }

    #[test]
    fn a_guest_is_not_squeezed_below_what_it_needs() {
        let was = "memory: 4096\nballoon: 1024\nshares: 0\n";
        let is = "memory: 4096\nballoon: 3072\nshares: 0\n";
        let (steps, kept) = commands(was, is, Some(Mib(2500)));
        assert_eq!(steps, Vec::<String>::new());
        assert!(kept.unwrap().contains("balloon stays"));
        assert_eq!(
            commands(was, is, Some(Mib(900))).0,
            ["qm set 101 --balloon 1024"]
        );
    }

    #[test]
    fn what_is_as_it_was_is_left_alone() {
        let same = "memory: 4096\nballoon: 1024\nvcpus: 1\n";
        assert_eq!(commands(same, same, None), (Vec::new(), None));
    }
}
