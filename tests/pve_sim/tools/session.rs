//! One run of `qm` or `pvesh`: where the node is, how fast its time runs, what it prints, which faults it suffers.

use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, raise};
use serde::Deserialize;

use super::failure::{Done, Failure};
use crate::faults::{Effect, Faults, Point};

/// How long PVE waits where it waits, in real time, and the factor by which the simulation is quicker.
///
/// Read from `var/lib/pve-sim/delays.yaml`; the environment's `PVE_SIM_SPEED` overrides the speed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Delays {
    /// All waits are divided by this.
    pub(crate) speed: f64,
    /// Seconds until Perl has loaded its modules; 0.75 was measured.
    pub(crate) startup_s: f64,
    /// Seconds that `qm` waits for the VM's flock.
    pub(crate) flock_s: f64,
    /// Fixes the order in which Perl walks hashes. Without it each run has its own, as with Perl.
    pub(crate) hash_seed: Option<u64>,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            speed: 1.0,
            startup_s: 0.0,
            flock_s: 10.0,
            hash_seed: None,
        }
    }
}

/// A wait for another process never gets shorter than this: on a busy machine, a healthy QEMU may need that long.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(3);

impl Delays {
    fn load(root: &Path) -> Result<Self> {
        let path = root.join("var/lib/pve-sim/delays.yaml");
        let mut delays = match fs::read_to_string(&path) {
            Ok(text) => {
                serde_yaml::from_str(&text).with_context(|| format!("{}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        if let Ok(speed) = env::var("PVE_SIM_SPEED") {
            delays.speed = speed.parse().context("PVE_SIM_SPEED")?;
        }
        ensure!(
            delays.speed.is_finite() && delays.speed > 0.0,
            "the speed must be a positive number"
        );
        for seconds in [delays.startup_s, delays.flock_s] {
            Duration::try_from_secs_f64(seconds / delays.speed)
                .context("a delay must be a number of seconds")?;
        }
        Ok(delays)
    }

    /// Simulated length of a wait that takes `seconds` on a real node.
    pub(crate) fn scaled(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.speed).unwrap_or(Duration::ZERO)
    }

    /// Simulated length of a time limit on another process's answer.
    pub(crate) fn timeout(&self, seconds: f64) -> Duration {
        let real = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        self.scaled(seconds).max(SHORTEST_TIMEOUT.min(real))
    }
}

/// One run of a command.
#[derive(Debug)]
pub(crate) struct Session {
    root: PathBuf,
    node: String,
    delays: Delays,
    faults: Faults,
    hash_seed: u64,
    in_worker: Cell<bool>,
}

impl Session {
    /// Reads what the run needs to know. Failing means that the simulation is set up wrongly.
    pub(crate) fn new(root: PathBuf, command: &str, args: &[String]) -> Result<Self> {
        let local = root.join("etc/pve/local");
        let target =
            fs::read_link(&local).with_context(|| format!("{} is no link", local.display()))?;
        let node = target
            .file_name()
            .and_then(|name| name.to_str())
            .context("etc/pve/local names no node")?
            .to_owned();
        let delays = Delays::load(&root)?;
        let hash_seed = delays
            .hash_seed
            .unwrap_or_else(|| u64::from(std::process::id()));
        let faults = Faults::load(&root, command, args)?;
        Ok(Self {
            root,
            node,
            delays,
            faults,
            hash_seed,
            in_worker: Cell::new(false),
        })
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// How fast time runs.
    pub(crate) fn delays(&self) -> &Delays {
        &self.delays
    }

    /// A path of the simulated node.
    pub(crate) fn path(&self, below_root: impl AsRef<Path>) -> PathBuf {
        self.root.join(below_root)
    }

    /// A file's text, or none if it cannot be read.
    pub(crate) fn read(&self, below_root: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(below_root)).ok()
    }

    /// Prints to stdout as it is. A closed pipe is the reader's business.
    pub(crate) fn print(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
    }

    /// Prints to stderr; in a worker task both streams go to the task's log, which `qm` and `pvesh` show on stdout.
    pub(crate) fn warn(&self, text: &str) {
        if self.in_worker.get() {
            self.print(text);
        } else {
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Runs what PVE runs in a worker task and waits for it. Returns its last words if it failed, on one line.
    pub(crate) fn worker(&self, work: impl FnOnce() -> Done<()>) -> Done<Result<(), String>> {
        self.in_worker.set(true);
        let result = work();
        self.in_worker.set(false);
        match result {
            Ok(()) => Ok(Ok(())),
            Err(injected @ Failure::Injected(_)) => Err(injected),
            Err(failure) => {
                let text = failure.text();
                Ok(Err(text
                    .strip_suffix('\n')
                    .unwrap_or(&text)
                    .replace('\n', " ")))
            }
        }
    }

    /// Sleeps as long as PVE would, at this simulation's speed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own with one thread, as the real one"
    )]
    pub(crate) fn sleep(&self, seconds: f64) {
        std::thread::sleep(self.delays.scaled(seconds));
    }

    /// The order in which Perl walks a hash: another one in each run unless the seed is fixed.
    pub(crate) fn perl_order<K: Hash + Ord>(&self, keys: impl IntoIterator<Item = K>) -> Vec<K> {
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.sort_by_cached_key(|key| {
            let mut hasher = DefaultHasher::new();
            (self.hash_seed, key).hash(&mut hasher);
            hasher.finish()
        });
        keys
    }

    /// Lets the faults strike that were asked for at this point.
    pub(crate) fn reach(&self, point: Point) -> Done<()> {
        let effect = self
            .faults
            .at(point)
            .map_err(|error| Failure::died(format!("pve-sim: {error:#}")))?;
        effect.map_or(Ok(()), |effect| self.suffer(effect))
    }

    /// Whether options stay pending this time, on request.
    pub(crate) fn leaves_pending(&self) -> Done<bool> {
        self.faults
            .leaves_pending()
            .map_err(|error| Failure::died(format!("pve-sim: {error:#}")))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own with one thread; hanging is the purpose"
    )]
    fn suffer(&self, effect: Effect) -> Done<()> {
        match effect {
            Effect::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Effect::Delay(time) => std::thread::sleep(time),
            Effect::Fail { text, code } => {
                self.warn(&format!("{text}\n"));
                return Err(Failure::Injected(code));
            }
            Effect::Nothing => return Err(Failure::Injected(0)),
            Effect::Warn(text) => self.warn(&format!("{text}\n")),
            Effect::Kill => {
                let _ = raise(Signal::SIGKILL);
            }
            Effect::LeavePending => {}
        }
        Ok(())
    }
}
