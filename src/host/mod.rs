//! The node itself, from /proc: CPU, memory with the reclaimable ARC, pressure.
//!
//! Knows nothing of Proxmox.

pub mod file;

pub use file::ReadError;
