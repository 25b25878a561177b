//! Plots for the page: demand as an area, the allocation as a line over it.

use std::fmt::Write;

use crate::backtest::bill::Course;
use crate::backtest::chart;
use crate::backtest::trace::Demand;

/// Size of the drawing, without its labels. It scales with the page.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 150.0;
/// Room for the labels left of it and below it.
const LEFT: f64 = 56.0;
const BELOW: f64 = 24.0;
const RIGHT: f64 = 20.0;
const ABOVE: f64 = 8.0;
/// So many points across: finer is not seen.
const COUNT: usize = 860;

/// A plot as SVG. `scale` turns the amounts into `unit`; `title` is for who cannot see it.
pub(super) fn plot(
    title: &str,
    demand: &Demand,
    course: &Course,
    (scale, unit): (f64, &str),
) -> String {
    let wanted = chart::of_demand(demand, COUNT);
    let had = chart::of_course(course, demand.end(), COUNT);
    let peak = wanted
        .iter()
        .chain(&had)
        .flatten()
        .fold(0.0, |a: f64, b| a.max(*b));
    let most = nice(peak * scale);
    let y = |value: f64| ABOVE + HEIGHT * (1.0 - (value * scale / most).clamp(0.0, 1.0));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">",
        LEFT + WIDTH + RIGHT,
        ABOVE + HEIGHT + BELOW,
    );
    for part in 0..=4 {
        let value = most * f64::from(part) / 4.0;
        let at = ABOVE + HEIGHT * (1.0 - f64::from(part) / 4.0);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/>",
            LEFT + WIDTH
        );
        if part % 2 == 0 {
            let unit = if part == 4 { unit } else { "" };
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value} {unit}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
    }
    for (share, label) in times(demand.end()) {
        let at = LEFT + WIDTH * share;
        let _ = write!(
            svg,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            ABOVE + HEIGHT + 18.0
        );
    }
    let _ = write!(
        svg,
        "<path class=\"demand\" d=\"{}\"/><path class=\"given\" d=\"{}\"/></svg>",
        area(&wanted, y),
        line(&had, y)
    );
    svg
}

fn x(index: usize) -> f64 {
    LEFT + WIDTH * index as f64 / COUNT as f64
}

/// A filled outline of each stretch in which something is known.
fn area(peaks: &[Option<f64>], y: impl Fn(f64) -> f64) -> String {
    let base = ABOVE + HEIGHT;
    let mut path = String::new();
    let mut open = false;
    for (index, peak) in peaks.iter().enumerate() {
        match peak {
            Some(value) => {
                if !open {
                    let _ = write!(path, "M{:.1} {base}", x(index));
                }
                let _ = write!(path, "V{:.1}H{:.1}", y(*value), x(index + 1));
            }
            None if open => {
                let _ = write!(path, "V{base}Z");
            }
            None => {}
        }
        open = peak.is_some();
    }
    if open {
        let _ = write!(path, "V{base}Z");
    }
    path
}

/// A line in steps.
fn line(peaks: &[Option<f64>], y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut before = None;
    for (index, value) in peaks.iter().enumerate() {
        let Some(value) = value else { continue };
        if before != Some(value) {
            let word = if before.is_none() { 'M' } else { 'V' };
            match word {
                'M' => {
                    let _ = write!(path, "M{:.1} {:.1}", x(index), y(*value));
                }
                _ => {
                    let _ = write!(path, "H{:.1}V{:.1}", x(index), y(*value));
                }
            }
        }
        before = Some(value);
    }
    let _ = write!(path, "H{:.1}", LEFT + WIDTH);
    path
}

/// The next number above `value` whose quarters read well.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.0, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value * 0.999);
    let nice = step.unwrap_or(10.0) * power;
    (nice * 1000.0).round() / 1000.0
}

/// Where to label the time, and how: as shares of the whole, at most eight.
fn times(end: i64) -> Vec<(f64, String)> {
    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let steps = [
        (MINUTE, MINUTE, "min"),
        (5 * MINUTE, MINUTE, "min"),
        (10 * MINUTE, MINUTE, "min"),
        (30 * MINUTE, MINUTE, "min"),
        (HOUR, HOUR, "h"),
        (3 * HOUR, HOUR, "h"),
        (6 * HOUR, HOUR, "h"),
        (DAY, DAY, "d"),
        (2 * DAY, DAY, "d"),
        (7 * DAY, DAY, "d"),
        (30 * DAY, DAY, "d"),
        (90 * DAY, DAY, "d"),
    ];
    let fits = |step: &&(i64, i64, &str)| end / step.0 <= 8;
    let Some((step, unit, word)) = steps.iter().find(fits) else {
        return Vec::new();
    };
    (0..=end / step)
        .map(|n| {
            let at = n * step;
            (
                at as f64 / end.max(1) as f64,
                format!("{} {word}", at / unit),
            )
        })
        .collect()
}
