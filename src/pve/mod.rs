//! Proxmox VE as it really behaves: running `qm` and `pvesh`, the configuration file grammar, QMP, cgroup paths, /etc/pve.
//!
//! Knows Proxmox. Never decides.

pub mod capability;
pub mod command;
pub mod config_file;
pub mod error;
pub mod health;
pub mod ladder;
pub mod layout;
pub mod nodes;
pub mod pmxcfs;
pub mod process;
pub mod pvesh;
pub mod qm;
pub mod qmp;
pub mod rrd;
pub mod scope;
pub mod vmlist;

pub use capability::{Running, Wish, capabilities};
pub use config_file::{AddressBits, Hotplug, Hugepages, VmConfig};
pub use error::{Cause, CommandError};
pub use ladder::Ladder;
pub use layout::Layout;
pub use pmxcfs::PmxcfsError;
pub use process::{QemuProcess, VcpuThread};
pub use pvesh::{GuestResources, Pvesh};
pub use qm::{Limits, Qm, Returned};
pub use qmp::QmpError;
pub use rrd::{RrdPoint, Timeframe};
pub use scope::Scope;
pub use vmlist::{Members, VmList};
