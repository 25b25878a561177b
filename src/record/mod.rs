//! One stream of events, fanned out to the journal, the history, the state file and the notifiers.
//!
//! Knows what is worth telling and where it goes. Never decides anything.

mod event;
mod files;
pub mod history;
pub mod journal;
pub mod left;
mod sentence;
mod state;
mod watch;

pub use event::{Day, Event, EventKind, Severity, VmRef};
pub use files::{Loaded, load, replace_file, save};
pub use history::History;
pub use sentence::span;
pub use state::{AgentState, HostState, ResourceState, STATE_VERSION, State, VmState};
pub use watch::Watch;
