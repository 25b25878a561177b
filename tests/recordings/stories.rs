//! Recordings that are told as a story of several steps, or that need a QEMU of their own.

/// Whether a story holds itself against this recording.
pub(crate) fn covers(name: &str) -> bool {
    name.starts_with("08-qemu-dies")
}
