//! Why something is changed, or is not.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{Amount, Lever, Mib, Moment, NodeName, Percent, Resource};

/// Why something is changed, or is not. Prints as the rest of the sentence "VM 101 (web), CPU: …".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    // Changes.
    /// The need has outgrown the allocation's head-room.
    NeedsMore {
        /// What is needed now.
        need: Amount,
    },
    /// Usage is at the allocation: the need is unknown and larger.
    Saturated {
        /// The usage that was seen.
        usage: Amount,
    },
    /// The guest itself reports shortage: swap-in, major faults, failed allocations.
    ShortOfMemory {
        /// What is needed now.
        need: Amount,
    },
    /// Usage stayed above the upper threshold.
    AboveThreshold {
        /// Usage in percent of the allocation.
        usage: Percent,
        /// The threshold.
        high: Percent,
    },
    /// The need usually rises soon, at this time of the day.
    PeakAhead {
        /// To what.
        expected: Amount,
        /// When, by the node's clock, to five minutes: `09:00`.
        at: String,
    },
    /// The need has stayed below the allocation for long enough.
    CalmedDown {
        /// What has been enough, with head-room.
        enough: Amount,
    },
    /// The VM has more than is enough for it now, and the node has no room for another one that needs it.
    GivesWay {
        /// What is enough.
        enough: Amount,
    },
    /// Usage stayed below the lower threshold.
    BelowThreshold {
        /// Usage in percent of the allocation.
        usage: Percent,
        /// The threshold.
        low: Percent,
    },
    /// The allocation lies outside the admin's limits.
    OutsideLimits {
        /// The lower limit.
        min: Amount,
        /// The upper limit.
        max: Amount,
        /// The window of the VM's schedule that sets the limit in question, if one does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
    },

    // Nothing to change.
    /// The allocation fits the need.
    Fits,
    /// The VM wants more than its maximum.
    AtMax {
        /// The maximum.
        max: Amount,
    },
    /// The VM could do with less than its minimum.
    AtMin {
        /// The minimum.
        min: Amount,
    },
    /// The VM wants more than the running QEMU can give before a power cycle.
    AtCeiling {
        /// What QEMU can give.
        ceiling: Amount,
    },
    /// Usage is low, but one low reading is not enough.
    FirstLowReading,
    /// One thread of the guest uses up a vCPU while others have room: more of them do not help it.
    OneThread {
        /// How busy that vCPU is.
        busiest: Percent,
    },
    /// The guest did not bring vCPUs online that it has: it is given no more of them.
    GuestIgnores {
        /// vCPUs that it has.
        plugged: u32,
        /// Those that it runs on.
        running: u32,
    },
    /// The VM was started too recently for memory modules.
    Booting {
        /// When they may be plugged.
        until: Moment,
    },

    // Blocked.
    /// An earlier change is still being carried out.
    InProgress,
    /// The last change is too recent.
    CoolingDown {
        /// When the next change is allowed.
        until: Moment,
    },
    /// There were as many changes as the configuration allows; a shrink leaves the last one to a growth.
    EnoughChanges {
        /// So many may be.
        most: u32,
        /// In an `hour` or a `day`.
        per: String,
        /// When the next change is allowed.
        until: Moment,
    },
    /// The node has no room for more.
    HostFull {
        /// Of what.
        resource: Resource,
        /// The room that is left under the host limits.
        free: Amount,
    },
    /// The node had no room a moment ago, and there is not clearly room again.
    WaitsForRoom {
        /// Of what.
        resource: Resource,
        /// So much must be free.
        wanted: Amount,
        /// So much is.
        free: Amount,
    },
    /// No other node could take the VM if it had more.
    FitsNowhereElse {
        /// The most that one could give it.
        most: Amount,
        /// Which node that is.
        node: NodeName,
    },
    /// A value that the decision rests on is unknown.
    Unmeasured {
        /// What is unknown and why.
        why: String,
    },
    /// No lever can move this resource of this VM.
    NoLever {
        /// Why.
        why: String,
    },
    /// A lever failed repeatedly and rests.
    Resting {
        /// The lever.
        lever: Lever,
        /// When it is tried again.
        until: Moment,
    },
    /// Less memory would be below what the guest needs now plus the margin.
    KeepsMargin {
        /// The least that may be left.
        floor: Mib,
    },
    /// The profile's mode leaves the change to the admin.
    NotAutomatic {
        /// The mode.
        mode: String,
        /// The change that would be made.
        to: Amount,
    },

    // Hands off.
    /// Its configuration is under another node.
    OtherNode {
        /// Which one.
        node: NodeName,
    },
    /// It does not run.
    NotRunning,
    /// QEMU is there but the guest does not execute.
    NotExecuting {
        /// QEMU's word for it.
        state: String,
    },
    /// It is a template.
    Template,
    /// Its configuration is locked.
    Locked {
        /// By what.
        lock: String,
    },
    /// It could not be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// Its tags or settings cannot be used.
    BadSettings {
        /// Why.
        why: String,
    },
    /// High availability is doing something with it, or waits for an admin.
    HighAvailability {
        /// PVE's word for what.
        state: String,
    },
    /// The agents have not handed it over to this node in full.
    HandOver {
        /// What is missing.
        why: String,
    },
    /// The cluster has no quorum.
    NoQuorum,
    /// An admin paused the agent.
    Paused {
        /// Who did.
        by: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsMore { need } => write!(f, "need {need}"),
            Self::Saturated { usage } => write!(f, "uses all it has ({usage})"),
            Self::ShortOfMemory { need } => write!(f, "the guest is short of memory, need {need}"),
            Self::AboveThreshold { usage, high } => write!(f, "usage {usage} above {high}"),
            Self::PeakAhead { expected, at } => {
                write!(f, "usually needs {expected} from about {at}")
            }
            Self::CalmedDown { enough } => write!(f, "calm, {enough} is enough"),
            Self::GivesWay { enough } => write!(
                f,
                "{enough} is enough now, and the node has no room for a VM that needs more"
            ),
            Self::BelowThreshold { usage, low } => write!(f, "usage {usage} below {low}"),
            Self::OutsideLimits { min, max, window } => {
                write!(f, "outside the limits {min} to {max}")?;
                match window {
                    Some(window) => write!(f, " of the window {window}"),
                    None => Ok(()),
                }
            }
            Self::Fits => f.write_str("fits"),
            Self::AtMax { max } => write!(f, "wants more than its maximum of {max}"),
            Self::AtMin { min } => write!(f, "at its minimum of {min}"),
            Self::AtCeiling { ceiling } => {
                write!(
                    f,
                    "wants more than the {ceiling} it can have before a power cycle"
                )
            }
            Self::FirstLowReading => f.write_str("low once; waits for a second low reading"),
            Self::OneThread { busiest } => write!(
                f,
                "one thread uses {busiest} of a vCPU while others have room; more vCPUs do not help it"
            ),
            Self::GuestIgnores { plugged, running } => write!(
                f,
                "it has {plugged} vCPUs but the guest runs on {running}: it does not bring plugged ones online \
                 (udev rule in the guest missing?)"
            ),
            Self::Booting { until } => {
                write!(f, "started a moment ago; memory modules wait until {until}")
            }
            Self::InProgress => f.write_str("an earlier change is still being carried out"),
            Self::CoolingDown { until } => write!(f, "cooling down until {until}"),
            Self::EnoughChanges { most, per, until } => {
                write!(
                    f,
                    "no more than {most} changes per {per}; waits until {until}"
                )
            }
            Self::HostFull { resource, free } => {
                write!(f, "the node has no more {resource} ({free} free)")
            }
            Self::WaitsForRoom {
                resource,
                wanted,
                free,
            } => write!(
                f,
                "the node had no more {resource} a moment ago; waits until {wanted} are free ({free} are)"
            ),
            Self::FitsNowhereElse { most, node } => write!(
                f,
                "no other node could take it with more: {node} could give it {most}"
            ),
            Self::Unmeasured { why } => write!(f, "unknown: {why}"),
            Self::NoLever { why } => write!(f, "cannot be moved: {why}"),
            Self::Resting { lever, until } => {
                write!(f, "{lever} failed repeatedly and rests until {until}")
            }
            Self::KeepsMargin { floor } => write!(f, "the guest needs at least {floor}"),
            Self::NotAutomatic { mode, to } => {
                write!(f, "would change to {to}, but mode is {mode}")
            }
            Self::OtherNode { node } => write!(f, "is on node {node}"),
            Self::NotRunning => f.write_str("not running"),
            Self::NotExecuting { state } => write!(f, "QEMU is {state}"),
            Self::Template => f.write_str("is a template"),
            Self::Locked { lock } => write!(f, "locked ({lock})"),
            Self::Unreadable { why } => write!(f, "unreadable: {why}"),
            Self::BadSettings { why } => write!(f, "settings: {why}"),
            Self::HighAvailability { state } => write!(f, "its HA state is {state}"),
            Self::HandOver { why } => write!(f, "not handed over yet: {why}"),
            Self::NoQuorum => f.write_str("the cluster has no quorum"),
            Self::Paused { by } => write!(f, "paused by {by}"),
        }
    }
}
