//! What the policies would have done with a demand history: traces in, allocations and their cost out.

pub mod baselines;
pub mod bill;
pub mod contest;
pub mod oracle;
pub mod simulate;
pub mod trace;
