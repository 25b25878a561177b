//! Which node owns a VM, and the facts that the agents of a cluster share under /etc/pve/vm-autoscale/.
//!
//! Writes on events only: a takeover, a release. A quiet tick writes nothing.

mod facts;

pub use facts::{Baseline, FactsError, VmFacts};
