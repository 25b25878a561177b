//! Value types with units, shared by every room.
//!
//! A number that crosses a room's border has a unit in its type, and a reading that failed is
//! [`Reading::Unknown`], never zero. Nothing here does I/O or knows a word of Proxmox.

mod amount;
mod capability;
mod ids;
mod lever;
mod moment;
mod quantity;
mod reading;

pub use amount::{Amount, Resource};
pub use capability::{Capabilities, Capability, Setting};
pub use ids::{InvalidId, NodeName, VmId, VmName, sanitize};
pub use lever::Lever;
pub use moment::Moment;
pub use quantity::{Cores, Mib, Percent, QuantityError, Ratio};
pub use reading::{Reading, Source};
