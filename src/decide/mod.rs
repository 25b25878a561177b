//! What to change, from what was observed: policies, gates, limits and the node's budget.
//!
//! Pure: the same snapshot, memory, settings and time give the same plan. No I/O, no clock, no randomness, no
//! async. The daemon, `--dry-run`, `backtest` and the tests all call [`plan`].

mod plan;
pub mod policy;

pub use plan::{Change, Plan, Reason, Verdict};
