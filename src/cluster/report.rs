//! What each node's agent tells the others of itself: `/etc/pve/vm-autoscale/nodes/<node>.json`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Moment, NodeName, sanitize};

use super::files::{FilesError, NODES, SharedFiles, report_path};

/// The version of the file's form.
const REPORT_VERSION: u32 = 1;
/// The least time between two reports, unless the agent starts, stops, gets another configuration, or has to reject one.
pub const REPORT_EVERY: Duration = Duration::from_secs(3600);
/// The longest problem that is told, in characters.
const PROBLEM_MAX: usize = 300;

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    version: u32,
    /// The agent's version.
    pub agent: String,
    /// Whether it runs: false after it was told to stop.
    pub running: bool,
    /// When it started.
    pub started: Moment,
    /// When this was written, by its own clock.
    pub written: Moment,
    /// A digest of the settings in force: nodes with the same one are configured alike.
    pub config: String,
    /// The last problem, if there is one.
    pub problem: Option<String>,
    /// Who gave the order to change nothing, if someone did.
    #[serde(default)]
    pub paused: Option<String>,
}

impl AgentReport {
    /// The report of an agent that runs.
    pub fn new(agent: &str, started: Moment, config: String, problem: Option<&str>) -> Self {
        Self {
            version: REPORT_VERSION,
            agent: agent.to_owned(),
            running: true,
            started,
            written: started,
            config,
            problem: problem.map(|problem| sanitize(problem, PROBLEM_MAX)),
            paused: None,
        }
    }

    /// Whether the agent wrote this within the last two reports' time. A clock that is ahead does not make it old.
    pub fn is_recent(&self, now: Moment) -> bool {
        now.since(self.written) <= REPORT_EVERY * 2 + Duration::from_secs(300)
    }

    /// The reports of all nodes that have one. One that makes no sense is told as `None`.
    ///
    /// # Errors
    /// The shared files could not be read.
    pub fn read_all(files: &impl SharedFiles) -> Result<Vec<(NodeName, Option<Self>)>, FilesError> {
        let mut reports = Vec::new();
        for name in files.list(NODES)? {
            let Some(Ok(node)) = name.strip_suffix(".json").map(str::parse::<NodeName>) else {
                continue;
            };
            if let Some(text) = files.read_settled(&report_path(&node))? {
                reports.push((node, serde_json::from_str(&text).ok()));
            }
        }
        Ok(reports)
    }

    fn write(&self, files: &impl SharedFiles, node: &NodeName) -> Result<(), FilesError> {
        let text = serde_json::to_string(self).map_err(|e| FilesError::Failed(e.to_string()))?;
        files.replace(&report_path(node), &text)
    }
}

/// A short digest of settings (FNV-1a, 64 bits): it tells alike from different, and is no protection against anyone.
pub fn digest(settings: &impl Serialize) -> String {
    let text = serde_json::to_vec(settings).unwrap_or_default();
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Writes the reports of this node's agent, seldom enough.
#[derive(Debug, Clone, Default)]
pub(super) struct Reporter {
    /// What was written last, and when by a clock that never goes back.
    written: Option<(Duration, AgentReport)>,
}

impl Reporter {
    /// Writes `report` if it is due at `at` (since the process began).
    pub(super) fn tell(
        &mut self,
        files: &impl SharedFiles,
        node: &NodeName,
        report: AgentReport,
        at: Duration,
        now: Moment,
    ) -> Result<(), FilesError> {
        let due = match &self.written {
            None => true,
            Some((when, last)) => {
                let says = |r: &AgentReport| {
                    (
                        r.running,
                        r.config.clone(),
                        r.problem.clone(),
                        r.paused.clone(),
                    )
                };
                let news = says(last) != says(&report);
                news || at.saturating_sub(*when) >= REPORT_EVERY
            }
        };
        if due {
            let mut report = report;
            report.written = now;
            report.write(files, node)?;
            self.written = Some((at, report));
        }
        Ok(())
    }
}
