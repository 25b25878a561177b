//! What to change, from what was observed: policies, gates, limits and the node's budget.
//!
//! Pure: the same snapshot, memory, settings and time give the same plan. No I/O, no clock, no randomness, no
//! async. The daemon, `--dry-run`, `backtest` and the tests all call [`plan`].

mod budget;
mod elsewhere;
mod engine;
mod gates;
mod judged;
mod levers;
mod memory;
mod peak;
mod plan;
pub mod policy;
mod range;
mod reason;
mod reclaim;
mod remembered;
#[cfg(test)]
mod tests;
mod travel;
mod usage;
mod weigh;

pub use engine::plan;
pub use gates::{is_tight, memory_margin};
pub(crate) use levers::{BALLOON_GRAIN_MIB, CPULIMIT_GRAIN};
pub use memory::{MEMORY_VERSION, Memory, VmMemory};
pub use peak::KnownPeak;
pub use plan::{ByHand, Change, OpenWindow, Plan, Verdict};
pub use reason::Reason;
pub use travel::LEARNED_MAX;
