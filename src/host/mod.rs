//! The node itself, from /proc: CPU, memory with the reclaimable ARC, pressure.
//!
//! Knows nothing of Proxmox. All paths are given, so that it reads any /proc-like tree.

mod cpu;
pub mod file;
mod memory;
mod pressure;

pub use cpu::CpuTimes;
pub use file::ReadError;
pub use memory::Memory;
pub use pressure::Stall;
