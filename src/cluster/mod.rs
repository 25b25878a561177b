//! Which node owns a VM, and the facts that the agents of a cluster share under /etc/pve/vm-autoscale/.
//!
//! Never writes in a quiet tick.
