//! One stream of events, fanned out to the journal, the history, the state file and the notifiers.
//!
//! Knows what is worth telling and where it goes. Never decides anything.

mod event;

pub use event::{Event, EventKind, Severity, VmRef};
