//! Proxmox VE as it really behaves: running `qm` and `pvesh`, the configuration file grammar, QMP, cgroup paths, /etc/pve.
//!
//! Knows Proxmox. Never decides.

pub mod layout;

pub use layout::Layout;
