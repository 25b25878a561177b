//! The admin's file, `/etc/vm-autoscale/config.yaml`: its schema, units and checks, and the effective settings of one VM.
//!
//! Reads its own file and nothing else.

mod settings;

pub use settings::{
    Cooldown, CpuMethod, CpuSettings, HostLimits, MemoryMethod, MemorySettings, Mode, PolicyKind,
    ResourceSettings, Select, Selection, Settings, VmSettings,
};
