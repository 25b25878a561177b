//! Which node owns a VM, and what the agents of a cluster share under /etc/pve/vm-autoscale/.
//!
//! Writes on events only: a takeover, a change that was seen to take effect, a release; beyond that one report a node
//! and hour. Knows the protocol between agents. Never decides what a VM should have.

mod clearance;
mod daily;
mod facts;
mod files;
mod ha;
mod janitor;
mod lock;
mod member;
mod mounted;
mod overview;
pub mod pause;
mod report;
mod round;
mod settings;

pub use clearance::{Clearance, Withheld, clear};
pub use facts::{Baseline, FactsError, LastChange, VmFacts};
pub use files::{CONFIG, FilesError, SharedFiles, config_path, facts_path, report_path};
pub use ha::HaStatus;
pub use lock::Lock;
pub use member::Member;
pub use mounted::Mounted;
pub use overview::{NodeOverview, Overview, VmOverview};
pub use report::{AgentReport, REPORT_EVERY, digest};
pub use round::{Arrival, Note, Round, Seen, View};
pub use settings::{InForce, Known, in_force, in_force_with, read_settings, settings_in_force};
