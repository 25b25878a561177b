//! The tick and its surroundings: timers, signals, reload, watchdog, shutdown.
//!
//! Everything else belongs to another room.
