//! Carries out a `Plan`: order, concurrency, time limits, and above all reading back what really happened.
//!
//! Knows levers and outcomes. Never weighs whether a change is a good idea.

mod executor;
mod guest;
mod judge;
mod levers;
mod outcome;
pub mod release;

pub use executor::{Executor, Report};
pub use outcome::{Done, Outcome};
