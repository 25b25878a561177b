//! The section `notify`. What stands in it may be secret, so no message and no output shows its lines or values.

use super::section::Section;

/// Reads the section.
pub(super) fn read(section: Section<'_>) {
    section.secret().finish();
}
