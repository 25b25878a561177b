//! Windows: parts of the week in which other limits, another mode or another policy hold. By the node's own clock.
//!
//! A window opens once and closes once on each of its days, also where the clocks are changed: a time that a day has
//! twice is the first of the two, and one that it does not have is as much later as the clocks are put forward.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::settings::{Mode, PolicyKind, VmSettings};
use super::units::Scalar;
use crate::domain::{Cores, Mib, Moment, Resource};

/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// A time zone. The default is UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone of this machine.
    ///
    /// # Errors
    /// What it is set to cannot be told, or is not in the system's time zone database; the error says why.
    pub fn of_the_node() -> Result<Self, String> {
        TimeZone::try_system().map(Self).map_err(|e| e.to_string())
    }

    /// The zone with this name, such as `Europe/Vienna`.
    ///
    /// # Errors
    /// The system's time zone database does not have it.
    pub fn named(name: &str) -> Result<Self, String> {
        TimeZone::get(name).map(Self).map_err(|e| e.to_string())
    }

    /// The minute of the week in which `now` lies, from Monday 00:00 on.
    pub fn minute_of_week(&self, now: Moment) -> u16 {
        // A week has 10080 of them.
        u16::try_from(self.second_of_week(now) / 60).unwrap_or(0)
    }

    /// The second of the week in which `now` lies, from Monday 00:00 on, as the node's clock shows it: where the clocks
    /// are put forward an hour is left out, where they are put back one comes twice.
    pub fn second_of_week(&self, now: Moment) -> u32 {
        let Some(local) = self.local(now) else {
            return 0;
        };
        let day = local.weekday().to_monday_zero_offset();
        let [day, hour, minute, second] = [day, local.hour(), local.minute(), local.second()]
            .map(|part| u32::from(part.unsigned_abs()));
        ((day * 24 + hour) * 60 + minute) * 60 + second
    }

    /// The time of the day at `now`, such as `08:00`.
    pub fn clock(&self, now: Moment) -> TimeOfDay {
        TimeOfDay(self.minute_of_week(now) % DAY)
    }

    /// The moment at which the node's clock shows `time`, as it is written without a zone.
    pub fn moment(&self, time: jiff::civil::DateTime) -> Option<Moment> {
        let at = self.0.to_timestamp(time).ok()?;
        Some(Moment::from_millis(at.as_millisecond()))
    }

    fn local(&self, now: Moment) -> Option<jiff::civil::DateTime> {
        let at = Timestamp::from_millisecond(now.as_millis()).ok()?;
        Some(self.0.to_datetime(at))
    }

    /// When it is `time` on `date`.
    fn on(&self, date: Date, time: TimeOfDay) -> Option<Moment> {
        let (date, minutes) = match time.0 {
            DAY => (date.tomorrow().ok()?, 0),
            minutes => (date, minutes),
        };
        let hour = i8::try_from(minutes / 60).ok()?;
        self.moment(date.at(hour, i8::try_from(minutes % 60).ok()?, 0, 0))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.iana_name().unwrap_or("the node's time zone"))
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time of the day to the minute, up to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// `None` for what no day has.
    pub fn new(hours: u16, minutes: u16) -> Option<Self> {
        let all = hours.checked_mul(60)?.checked_add(minutes)?;
        (minutes < 60 && all <= DAY).then_some(Self(all))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// As the configuration writes them, from Monday on.
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// The whole week.
    pub const ALL: Self = Self(0b111_1111);
    /// No day.
    pub const NONE: Self = Self(0);

    /// The days that a word of the configuration stands for: `mon`, `weekdays`, `weekend`.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "weekdays" => Some(Self(0b001_1111)),
            "weekend" => Some(Self(0b110_0000)),
            _ => NAMES
                .iter()
                .position(|name| *name == word)
                .map(|day| Self(1 << day)),
        }
    }

    /// The days whose bits are set, Monday's being the lowest.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// These and those.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.pad("every day");
        }
        let named = NAMES.iter().enumerate();
        let named: Vec<&str> = named
            .filter(|(day, _)| self.0 & (1 << day) != 0)
            .map(|(_, name)| *name)
            .collect();
        f.pad(&named.join(" "))
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A part of the week, and what holds in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// Its name in the configuration.
    pub name: String,
    /// The days on which it opens.
    pub days: Days,
    /// When it opens.
    pub from: TimeOfDay,
    /// When it closes; on the next day if that is not after `from`.
    pub to: TimeOfDay,
    /// What holds in it.
    pub sets: Overrides,
}

/// What a window sets; `None` leaves a value as it is outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Overrides {
    /// What the agent does with its decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyKind>,
    /// The least CPU.
    #[serde(rename = "cpu.min", skip_serializing_if = "Option::is_none")]
    pub cpu_min: Option<Cores>,
    /// The most.
    #[serde(rename = "cpu.max", skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<Cores>,
    /// The least memory.
    #[serde(rename = "memory.min", skip_serializing_if = "Option::is_none")]
    pub memory_min: Option<Mib>,
    /// The most.
    #[serde(rename = "memory.max", skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Mib>,
}

impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn shown<T: Scalar>(key: &str, value: Option<T>) -> Option<String> {
            value.map(|value| format!("{key} {}", value.show()))
        }
        let sets = [
            shown("mode", self.mode),
            shown("policy", self.policy),
            shown("cpu.min", self.cpu_min),
            shown("cpu.max", self.cpu_max),
            shown("memory.min", self.memory_min),
            shown("memory.max", self.memory_max),
        ];
        let sets: Vec<String> = sets.into_iter().flatten().collect();
        f.pad(&sets.join(", "))
    }
}

impl Overrides {
    fn over(&self, own: &mut VmSettings) {
        own.mode = self.mode.unwrap_or(own.mode);
        own.policy = self.policy.unwrap_or(own.policy);
        own.cpu.min = self.cpu_min.unwrap_or(own.cpu.min);
        own.cpu.max = self.cpu_max.unwrap_or(own.cpu.max);
        own.memory.min = self.memory_min.unwrap_or(own.memory.min);
        own.memory.max = self.memory_max.unwrap_or(own.memory.max);
    }

    /// Whether it sets the lower limit of `resource`, or the upper one.
    fn limits(&self, resource: Resource, lower: bool) -> bool {
        match (resource, lower) {
            (Resource::Cpu, true) => self.cpu_min.is_some(),
            (Resource::Cpu, false) => self.cpu_max.is_some(),
            (Resource::Memory, true) => self.memory_min.is_some(),
            (Resource::Memory, false) => self.memory_max.is_some(),
        }
    }
}

impl Window {
    /// Until when it is open, if it is at `now`.
    pub fn open_until(&self, now: Moment, zone: &Zone) -> Option<Moment> {
        let today = zone.local(now)?.date();
        let days = [today.yesterday().ok()?, today];
        days.into_iter()
            .filter_map(|date| self.on(date, zone))
            .find(|(opens, closes)| (*opens..*closes).contains(&now))
            .map(|(_, closes)| closes)
    }

    /// When it opens or closes the next time after `now`.
    fn next_edge(&self, now: Moment, zone: &Zone) -> Option<Moment> {
        let today = zone.local(now)?.date();
        let mut date = today.yesterday().ok()?;
        // Yesterday's window may still be open. Today's weekday comes again in seven days, and where the clocks swallow
        // the window, in fourteen.
        for _ in 0..17 {
            let edges = self.on(date, zone).map(|(opens, closes)| [opens, closes]);
            if let Some(edge) = edges.into_iter().flatten().find(|edge| *edge > now) {
                return Some(edge);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// When the window of `date` opens and closes.
    fn on(&self, date: Date, zone: &Zone) -> Option<(Moment, Moment)> {
        if !self.days.has(date.weekday()) {
            return None;
        }
        let ends = match self.to > self.from {
            true => date,
            false => date.tomorrow().ok()?,
        };
        let (opens, closes) = (zone.on(date, self.from)?, zone.on(ends, self.to)?);
        (opens < closes).then_some((opens, closes))
    }

    /// The minutes of the week in which it is open, from Monday 00:00 on, as ranges; the end is not in it. A week in
    /// which no clock is changed.
    pub(super) fn in_week(&self) -> Vec<(u16, u16)> {
        const WEEK: u16 = 7 * DAY;
        let length = match self.to.0 > self.from.0 {
            true => self.to.0 - self.from.0,
            false => DAY - self.from.0 + self.to.0,
        };
        let days = (0..7u16).filter(|day| self.days.0 & (1 << day) != 0);
        days.map(|day| day * DAY + self.from.0)
            .flat_map(|opens| match opens + length {
                closes if closes > WEEK => vec![(opens, WEEK), (0, closes - WEEK)],
                closes => vec![(opens, closes)],
            })
            .collect()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} to {}", self.days, self.from, self.to)
    }
}

/// The settings of a VM as they hold at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce<'a> {
    /// With what the open windows set.
    pub settings: Cow<'a, VmSettings>,
    /// The open windows and when each closes. Of two that set the same, the later one counts.
    pub windows: Vec<(&'a Window, Moment)>,
}

impl InForce<'_> {
    /// The open window that sets a limit of `resource`: the lower one, or the upper one.
    pub fn window_that_limits(&self, resource: Resource, lower: bool) -> Option<&str> {
        let sets = |(window, _): &&(&Window, Moment)| window.sets.limits(resource, lower);
        let found = self.windows.iter().rfind(sets);
        found.map(|(window, _)| window.name.as_str())
    }
}

impl VmSettings {
    /// The settings as they hold at `now` in `zone`.
    pub fn at(&self, now: Moment, zone: &Zone) -> InForce<'_> {
        let open = |window| Some((window, Window::open_until(window, now, zone)?));
        let windows: Vec<(&Window, Moment)> = self.schedule.iter().filter_map(open).collect();
        let mut settings = Cow::Borrowed(self);
        for (window, _) in &windows {
            window.sets.over(settings.to_mut());
        }
        InForce { settings, windows }
    }

    /// When another window opens, or one closes, the next time after `now`.
    pub fn changes_at(&self, now: Moment, zone: &Zone) -> Option<Moment> {
        let edges = self.schedule.iter();
        edges.filter_map(|w| w.next_edge(now, zone)).min()
    }

    /// The settings with the lowest and the highest limits that ever hold: what a policy and a VM's levers reckon with.
    pub fn at_its_widest(&self) -> Cow<'_, VmSettings> {
        if self.schedule.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut widest = self.clone();
        for Window { sets, .. } in &self.schedule {
            let (cpu, memory) = (&mut widest.cpu, &mut widest.memory);
            cpu.min = cpu.min.min(sets.cpu_min.unwrap_or(cpu.min));
            cpu.max = cpu.max.max(sets.cpu_max.unwrap_or(cpu.max));
            memory.min = memory.min.min(sets.memory_min.unwrap_or(memory.min));
            memory.max = memory.max.max(sets.memory_max.unwrap_or(memory.max));
        }
        Cow::Owned(widest)
    }
}

#[cfg(test)]
mod tests;
