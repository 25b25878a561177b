//! What the policies would have done with a demand history: traces in, allocations and their cost out.

pub mod baselines;
pub mod bill;
pub mod chart;
pub mod contest;
mod limits;
pub mod oracle;
pub mod recorded;
pub mod replay;
pub mod report;
pub mod run;
pub mod simulate;
mod stage;
pub mod trace;
