//! The admin's file, `/etc/vm-autoscale/config.yaml`: its schema, units and checks, and the effective settings of one VM.
//! The cluster's settings have the same form and lie below it, key by key (`merge`).
//!
//! Reads its own file and nothing else; the cluster's text is given to it. The way of a file: `parse` makes a tree in which every node knows its place,
//! `file` walks it by the schema with the help of `section`, `resolve` fills in defaults and remembers where each value
//! came from, `check` looks for what does not fit together. All faults are reported at once.

mod check;
mod fault;
mod file;
mod form;
pub mod import;
mod load;
mod merge;
mod notify;
mod parse;
mod provenance;
mod report;
mod resolve;
mod schedule;
mod section;
mod settings;
mod units;
mod windows;

pub use fault::{Fault, Invalid, LoadError, Place, SHOWN, Scope, Source};
pub use file::known_keys;
pub(crate) use file::{CORES, MEMORY};
pub use form::{Form, Known, ValueForm};
pub use load::{Loaded, contents, load, read, read_over};
pub use provenance::{Effective, EffectiveVm, NoProfile, Origin, Provenance, Scheduled};
pub use schedule::{Days, InForce, Overrides, TimeOfDay, Window, Zone};
pub use settings::{
    Caps, Cooldown, CpuMethod, CpuSettings, FitElsewhere, HostLimits, MemoryMethod, MemorySettings,
    Mode, PolicyKind, Rate, ResourceSettings, Select, Selection, Settings, Steady, VmEntry,
    VmSettings,
};
