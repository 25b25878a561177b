//! Faults on request: what `qm` and `pvesh` of the simulated node do wrong, and when.
//!
//! Read from `var/lib/pve-sim/faults.yaml`, a list of rules:
//!
//! ```yaml
//! - command: qm                 # or pvesh
//!   args: set 101 --vcpus       # these words occur in the arguments, in this order
//!   times: 1                    # absent: every time
//!   at: half_plugged            # where in the command; absent: start
//!   do: kill                    # see Effect
//! ```
//!
//! Of several rules that fit, the first one strikes until it is used up, then the next.
//!
//! A mistake in the file ends the command with a message of its own: a fault that silently never fires would make
//! its test pass for nothing. What fired is appended to `var/lib/pve-sim/faults.log`, which is also how `times` is
//! counted across processes.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Where in a command a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Point {
    /// Before anything else.
    #[default]
    Start,
    /// The VM's flock is held, nothing is changed yet.
    Locked,
    /// All options are in `[PENDING]`, nothing is applied yet.
    PendingWritten,
    /// Half of the vCPUs or memory modules are plugged or unplugged.
    HalfPlugged,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// `hang`: never ends by itself.
    Hang,
    /// `delay` with `seconds`: goes on after that time, which no speed factor shortens.
    Delay(Duration),
    /// `fail` with `text` and `code`: prints the text on stderr and ends.
    Fail {
        /// Printed as it is, with a newline.
        text: String,
        /// Exit code.
        code: u8,
    },
    /// `nothing`: ends with exit code 0, whatever was done so far.
    Nothing,
    /// `warn` with `text`: prints the text on stderr and goes on.
    Warn(String),
    /// `kill`: SIGKILL.
    Kill,
    /// `leave_pending`: no option is applied live, as if the VM could not hotplug.
    LeavePending,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    command: String,
    args: String,
    times: Option<usize>,
    #[serde(default)]
    at: Point,
    #[serde(rename = "do")]
    action: String,
    text: Option<String>,
    code: Option<u8>,
    seconds: Option<f64>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Identifies the rule in the log, so that an edited or another rule counts from nothing.
    identity: String,
    times: Option<usize>,
    at: Point,
    effect: Effect,
}

/// The faults that this command line is to suffer.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    log: PathBuf,
    argv: String,
    rules: Vec<Rule>,
}

impl Faults {
    /// Reads the rules under `root` and keeps those that fit the command.
    pub(crate) fn load(root: &Path, command: &str, args: &[String]) -> Result<Self> {
        let directory = root.join("var/lib/pve-sim");
        let path = directory.join("faults.yaml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        let raw: Vec<RawRule> = if text.trim().is_empty() {
            Vec::new()
        } else {
            serde_yaml::from_str(&text).with_context(|| format!("{}", path.display()))?
        };
        let mut rules = Vec::new();
        for (position, rule) in raw.into_iter().enumerate() {
            let identity = format!("{position}:{rule:?}");
            let fits = rule.command == command && occurs_in_order(&rule.args, args);
            let rule = Rule {
                identity,
                times: rule.times,
                at: rule.at,
                effect: effect(rule)?,
            };
            if fits {
                rules.push(rule);
            }
        }
        Ok(Self {
            log: directory.join("faults.log"),
            argv: format!("{command} {}", args.join(" ")),
            rules,
        })
    }

    /// The effect that strikes at this point, counted as used: that of the first rule which is not used up.
    pub(crate) fn at(&self, point: Point) -> Result<Option<Effect>> {
        self.take(|rule| rule.at == point && rule.effect != Effect::LeavePending)
    }

    /// Whether options stay pending this time.
    pub(crate) fn leaves_pending(&self) -> Result<bool> {
        Ok(self
            .take(|rule| rule.effect == Effect::LeavePending)?
            .is_some())
    }

    fn take(&self, wanted: impl Fn(&Rule) -> bool) -> Result<Option<Effect>> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| wanted(rule)).collect();
        if rules.is_empty() {
            return Ok(None);
        }
        let mut log = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&self.log)?;
        log.lock()?;
        let mut used = String::new();
        log.read_to_string(&mut used)?;
        let times_used = |rule: &Rule| {
            let identities = used
                .lines()
                .map(|line| line.split('\t').next().unwrap_or_default());
            identities
                .filter(|identity| *identity == rule.identity)
                .count()
        };
        let fresh = |rule: &&Rule| rule.times.is_none_or(|times| times_used(rule) < times);
        let Some(rule) = rules.into_iter().find(fresh) else {
            return Ok(None);
        };
        writeln!(log, "{}\t{}", rule.identity, self.argv)?;
        Ok(Some(rule.effect.clone()))
    }
}

fn occurs_in_order(words: &str, args: &[String]) -> bool {
    let mut args = args.iter();
    words
        .split_whitespace()
        .all(|word| args.any(|arg| arg == word))
}

fn effect(rule: RawRule) -> Result<Effect> {
    let text = || {
        rule.text
            .clone()
            .with_context(|| format!("fault {:?} needs a text", rule.action))
    };
    Ok(match rule.action.as_str() {
        "hang" => Effect::Hang,
        "delay" => {
            let seconds = rule.seconds.context("fault \"delay\" needs seconds")?;
            Effect::Delay(Duration::try_from_secs_f64(seconds)?)
        }
        "fail" => Effect::Fail {
            text: text()?,
            code: rule.code.context("fault \"fail\" needs a code")?,
        },
        "nothing" => Effect::Nothing,
        "warn" => Effect::Warn(text()?),
        "kill" => Effect::Kill,
        "leave_pending" => Effect::LeavePending,
        other => bail!("no such fault: {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(yaml: &str, args: &str) -> (tempfile::TempDir, Result<Faults>) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("var/lib/pve-sim");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("faults.yaml"), yaml).unwrap();
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let faults = Faults::load(root.path(), "qm", &args);
        (root, faults)
    }

    #[test]
    fn a_rule_fits_when_its_words_occur_in_order() {
        let yaml = "- {command: qm, args: set 101 --balloon, do: hang}";
        for (args, fits) in [
            ("set 101 --shares 0 --balloon 900", true),
            ("set 102 --balloon 900", false),
            ("config 101", false),
        ] {
            let (_root, faults) = loaded(yaml, args);
            assert_eq!(
                faults.unwrap().at(Point::Start).unwrap().is_some(),
                fits,
                "{args}"
            );
        }
    }

    #[test]
    fn a_limited_fault_strikes_that_often_and_no_more_over_all_processes() {
        let yaml =
            "- {command: qm, args: set, times: 2, at: locked, do: fail, text: no, code: 255}";
        let (root, faults) = loaded(yaml, "set 101");
        let other = Faults::load(root.path(), "qm", &["set".to_owned()]).unwrap();
        let faults = faults.unwrap();
        assert_eq!(faults.at(Point::Start).unwrap(), None);
        assert!(faults.at(Point::Locked).unwrap().is_some());
        assert!(other.at(Point::Locked).unwrap().is_some());
        assert_eq!(faults.at(Point::Locked).unwrap(), None);
    }

    #[test]
    fn when_a_rule_is_used_up_the_next_one_has_its_turn() {
        let yaml = "- {command: qm, args: set, times: 1, do: nothing}\n- {command: qm, args: set, do: kill}";
        let (_root, faults) = loaded(yaml, "set 101");
        let faults = faults.unwrap();
        let struck = || faults.at(Point::Start).unwrap();
        assert_eq!(
            [struck(), struck()],
            [Some(Effect::Nothing), Some(Effect::Kill)]
        );
    }

    #[test]
    fn a_mistake_in_the_file_is_an_error_even_for_other_commands() {
        for yaml in [
            "- {command: pvesh, args: get, do: explode}",
            "- {command: qm, args: set, do: fail, text: no}",
            "- {command: qm, args: set, do: hang, tims: 1}",
            "command: qm",
        ] {
            assert!(loaded(yaml, "set 101").1.is_err(), "{yaml}");
        }
    }
}
