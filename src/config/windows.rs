//! The section `schedule` of a profile or a VM: its windows as they are written, and what is wrong among them.

use std::collections::BTreeSet;

use super::fault::Place;
use super::file::{self, File, Layer};
use super::form::ValueForm;
use super::provenance::Origin;
use super::report::Report;
use super::resolve;
use super::schedule::{Days, Overrides, TimeOfDay, Window, Zone};
use super::section::{Section, Written, WrittenList};
use super::units::{self, Scalar};
use crate::domain::Moment;

/// A week has room for no more that anyone can keep apart.
const WINDOWS: usize = 32;

/// A window as it is written: when it is open, and a layer of values over the section that it stands in.
#[derive(Debug, Clone)]
pub(super) struct WindowLayer {
    pub(super) name: String,
    pub(super) place: Place,
    /// `profiles.default.schedule.office`.
    pub(super) path: String,
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
    pub(super) layer: Layer,
}

impl WindowLayer {
    /// The window, setting what takes effect of it.
    pub(super) fn window(&self, sets: Overrides) -> Window {
        Window {
            name: self.name.clone(),
            days: self.days,
            from: self.from,
            to: self.to,
            sets,
        }
    }

    /// Whether it is open at `now`.
    pub(super) fn is_open(&self, now: Moment, zone: &Zone) -> bool {
        let window = self.window(Overrides::default());
        window.open_until(now, zone).is_some()
    }

    /// The values that it sets, each by its key.
    fn values(&self) -> Vec<(&'static str, Place, &str)> {
        fn found<'a, T>(
            key: &'static str,
            written: &'a Option<Written<T>>,
        ) -> Option<(&'static str, Place, &'a str)> {
            let written = written.as_ref()?;
            Some((key, written.place, written.path.as_str()))
        }
        let layer = &self.layer;
        [
            found("mode", &layer.mode),
            found("policy", &layer.policy),
            found("cpu.min", &layer.cpu.min),
            found("cpu.max", &layer.cpu.max),
            found("memory.min", &layer.memory.min),
            found("memory.max", &layer.memory.max),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The windows in `section`. One whose times are wrong counts as not written.
pub(super) fn read(section: &mut Section<'_>) -> Vec<WindowLayer> {
    let entries = section.entries::<WindowName>("schedule", "NAME", WINDOWS);
    entries
        .into_iter()
        .filter_map(|(name, section)| window(&name, section))
        .collect()
}

fn window(name: &Written<WindowName>, mut section: Section<'_>) -> Option<WindowLayer> {
    let place = section.place();
    let days: Option<WrittenList<Days>> = section.list("days");
    let from: Option<Written<TimeOfDay>> = section.value("from");
    let to: Option<Written<TimeOfDay>> = section.value("to");
    let layer = file::window_layer(&mut section);
    if from.is_none() {
        section.fault(
            "from",
            "a window needs the time at which it opens: \"08:00\"",
        );
    }
    if to.is_none() {
        section.fault(
            "to",
            "a window needs the time at which it closes: \"18:00\"",
        );
    }
    if let (Some(from), Some(to)) = (&from, &to)
        && from.value == to.value
    {
        let whole = "the same as \"from\"; a whole day is from \"00:00\" to \"24:00\"";
        section.fault("to", whole);
    }
    let sound = !section.is_at_fault();
    section.finish();
    let all = |days: WrittenList<Days>| {
        let named = days.value.iter().map(|day| day.value);
        named.fold(Days::NONE, Days::and)
    };
    let (from, to) = from.zip(to)?;
    sound.then(|| WindowLayer {
        name: name.value.0.clone(),
        place,
        path: format!("{}.{}", name.path, name.value.0),
        days: days.map_or(Days::ALL, all),
        from: from.value,
        to: to.value,
        layer,
    })
}

/// The layers with those windows that are `open`, each right above the section that it stands in.
pub(super) fn opened<'a>(
    layers: &[&'a Layer],
    open: impl Fn(&WindowLayer) -> bool,
) -> Vec<&'a Layer> {
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        let windows = layer.windows.iter().filter(|window| open(window));
        all.extend(windows.map(|window| &window.layer));
        all.push(*layer);
    }
    all
}

/// The windows of `layers` that set anything, with what takes effect of each: not what a section above it says
/// otherwise. The one that counts most comes last.
pub(super) fn in_effect<'a>(profile: &str, layers: &[&'a Layer]) -> Vec<(&'a WindowLayer, Window)> {
    let windows = layers.iter().rev().flat_map(|layer| &layer.windows);
    let effect = |window: &'a WindowLayer| {
        let alone = resolve::flat(profile, opened(layers, |open| open.path == window.path));
        let from_it = |key: &str| {
            let written = format!("{}.{key}", window.path);
            let value = alone.effective(key).map(|value| &value.from);
            matches!(value, Some(Origin::File { path, .. }) if *path == written)
        };
        let own = &alone.settings;
        let sets = Overrides {
            mode: from_it("mode").then_some(own.mode),
            policy: from_it("policy").then_some(own.policy),
            cpu_min: from_it("cpu.min").then_some(own.cpu.min),
            cpu_max: from_it("cpu.max").then_some(own.cpu.max),
            memory_min: from_it("memory.min").then_some(own.memory.min),
            memory_max: from_it("memory.max").then_some(own.memory.max),
        };
        (sets != Overrides::default()).then(|| (window, window.window(sets)))
    };
    windows.filter_map(effect).collect()
}

/// The sets of windows, by their paths, that are open together at some time of the week.
pub(super) fn together<'a>(windows: &[(&'a WindowLayer, Window)]) -> BTreeSet<BTreeSet<&'a str>> {
    let weeks: Vec<_> = windows
        .iter()
        .map(|(written, window)| (written.path.as_str(), window.in_week()))
        .collect();
    let opens = weeks.iter().flat_map(|(_, week)| week);
    let open_at = |minute: u16| {
        let open = weeks.iter().filter(|(_, week)| {
            let mut parts = week.iter();
            parts.any(|(opens, closes)| (*opens..*closes).contains(&minute))
        });
        open.map(|(path, _)| *path).collect()
    };
    opens.map(|(minute, _)| open_at(*minute)).collect()
}

/// The node's time zone; a warning where windows need it and it cannot be told.
pub(super) fn zone(file: &File, report: &Report) -> Zone {
    let own = file.vms.values().map(|vm| &vm.layer);
    let layers = file.profiles.values().chain(own);
    let first = layers.flat_map(|layer| &layer.windows).next();
    Zone::of_the_node().unwrap_or_else(|why| {
        if let Some(window) = first {
            let message =
                format!("this node's time zone cannot be told ({why}): windows go by UTC");
            let hint = "set it with timedatectl set-timezone".to_owned();
            report.warn(window.place, &window.path, message, Some(hint));
        }
        Zone::default()
    })
}

/// Reports windows of one section that are open at the same time and set the same (which of them should count?), and
/// those that do nothing.
pub(super) fn check(file: &File, report: &Report) {
    let own = file.vms.values().map(|vm| &vm.layer);
    for layer in file.profiles.values().chain(own) {
        for (index, window) in layer.windows.iter().enumerate() {
            let values = window.values();
            if values.is_empty() || window.days == Days::NONE {
                let message = match values.is_empty() {
                    true => "sets nothing".to_owned(),
                    false => "is open on no day".to_owned(),
                };
                let hint = "give it days and one of mode, policy, cpu and memory, or remove it";
                report.warn(window.place, &window.path, message, Some(hint.to_owned()));
            }
            let others = &layer.windows[..index];
            for other in others.iter().filter(|other| overlap(window, other)) {
                let theirs = other.values();
                for (key, place, path) in &values {
                    if theirs.iter().any(|(their, ..)| their == key) {
                        let message = format!(
                            "the window {:?} sets this as well and is open at the same time",
                            other.name
                        );
                        let hint = "let one close where the other opens".to_owned();
                        report.fault(*place, path, &message, Some(hint));
                    }
                }
            }
        }
    }
}

fn overlap(one: &WindowLayer, other: &WindowLayer) -> bool {
    let nothing = Overrides::default();
    let (one, other) = (
        one.window(nothing).in_week(),
        other.window(nothing).in_week(),
    );
    one.iter().any(|(from, to)| {
        other
            .iter()
            .any(|(opens, closes)| from < closes && opens < to)
    })
}

/// The name of a window. It is shown on terminals and in messages.
struct WindowName(String);

impl Scalar for WindowName {
    fn expected() -> String {
        "a name in lower case: letters, digits and _ - + .".to_owned()
    }

    fn form() -> ValueForm {
        units::ProfileName::form()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        units::ProfileName::read(text).map(|name| Self(name.0))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Scalar for TimeOfDay {
    fn expected() -> String {
        "a time of the day, \"00:00\" to \"24:00\"".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^([01]?[0-9]|2[0-4]):[0-5][0-9]$")
    }

    /// `08:00`, `8:00`, `24:00`.
    fn read(text: &str) -> Result<Self, Option<String>> {
        let number = |text: &str| -> Option<u16> {
            let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok())?
        };
        let read = |hours: &str, minutes: &str| Self::new(number(hours)?, number(minutes)?);
        if let Some((hours, minutes)) = text.split_once(':') {
            return match minutes.len() {
                2 => read(hours, minutes).ok_or(None),
                _ => Err(None),
            };
        }
        let split = text.split_once(['.', 'h']).unwrap_or((text, "0"));
        let meant = read(split.0, if split.1.is_empty() { "0" } else { split.1 });
        Err(meant.map(|time| format!("write \"{time}\"")))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for Days {
    fn expected() -> String {
        "mon, tue, wed, thu, fri, sat, sun, weekdays or weekend".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Words(DAYS.to_vec())
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        Self::named(text).ok_or_else(|| {
            let lower = text.to_lowercase();
            let short = lower.get(..3).filter(|short| DAYS.contains(short));
            let meant = short.or_else(|| units::nearest(&lower, DAYS));
            meant.map(|word| format!("did you mean {word}?"))
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

const DAYS: [&str; 9] = [
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "weekdays", "weekend",
];
