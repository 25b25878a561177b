//! The command line: one file per command, printing and exit codes.
//!
//! Holds no logic that a room should own.

pub mod check_config;
pub mod output;
