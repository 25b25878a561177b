//! The section `notify`. What stands in it may be secret, so no message and no output shows its lines or values.
//!
//! A channel is a section in it, read here key by key (see `section`) into settings of its own; a type that holds a
//! secret must not show it in its `Debug` form.

use super::section::Section;

/// Reads the section.
pub(super) fn read(section: Section<'_>) {
    section.secret().finish();
}
