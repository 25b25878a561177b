//! The result of a decision: the changes to make, and a verdict for every managed VM and resource.

use serde::{Deserialize, Serialize};

use crate::domain::{Amount, Lever, Moment, Reading, Resource, VmId, VmName};

use super::{KnownPeak, Reason};

/// What to do in this tick. Shrinks come before grows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// When it was made.
    pub at: Moment,
    /// The changes, in the order in which they are to be started.
    pub changes: Vec<Change>,
    /// What somebody else changed since the agent's own last change: it is respected, and is the new baseline.
    pub by_hand: Vec<ByHand>,
    /// Asked again before this time, with the same things measured, the answer would be the same. At the earliest now,
    /// where it says nothing. `backtest` passes over the time until then.
    #[serde(skip)]
    pub stands_until: Moment,
    /// One for every managed VM and resource, also where nothing is done.
    pub verdicts: Vec<Verdict>,
}

/// A lever that somebody else moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByHand {
    /// Of which VM.
    pub vm: VmId,
    /// Which lever.
    pub lever: Lever,
    /// Where the agent had left it.
    pub from: Amount,
    /// Where it stands now.
    pub to: Amount,
}

/// One change of one resource of one VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Which VM.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// By which lever.
    pub lever: Lever,
    /// The allocation as it was read.
    pub from: Amount,
    /// The allocation to reach.
    pub to: Amount,
    /// Why.
    pub reason: Reason,
}

impl Change {
    /// Whether it gives the VM more.
    pub fn grows(&self) -> bool {
        self.to.value() > self.from.value()
    }
}

/// What was decided about one resource of one VM, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which VM.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// Which resource.
    pub resource: Resource,
    /// What the VM needs now.
    pub need: Reading<Amount>,
    /// What it has now.
    pub allocation: Reading<Amount>,
    /// The lever that would move it, where there is one.
    pub lever: Option<Lever>,
    /// The least that it may be given, in whole steps of the lever; `None` where there is none.
    pub min: Option<Amount>,
    /// The most that it may be given: the admin's maximum, or what QEMU can give before a power cycle.
    pub max: Option<Amount>,
    /// What the policy asked for, before limits, gates and budget; `None` if it was not asked.
    pub wanted: Option<Amount>,
    /// What is to be reached in this tick; `None` if nothing is changed.
    pub target: Option<Amount>,
    /// What would be reached if the mode were `auto`; `None` if it is, or if nothing would be changed.
    pub recommended: Option<Amount>,
    /// Why.
    pub reason: Reason,
    /// The peaks of the day that the policy knows, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peaks: Vec<KnownPeak>,
    /// The windows of the VM's schedule that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<OpenWindow>,
}

/// A window of a VM's schedule that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenWindow {
    /// Its name in the configuration.
    pub name: String,
    /// When it closes.
    pub until: Moment,
}
