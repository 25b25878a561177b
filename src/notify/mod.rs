//! Tells people: one file per channel.
//!
//! Never in the way of scaling.
