//! A backtest as text: charts of demand and allocation, and what each way to size comes to.

use anstyle::{AnsiColor, Style};

use crate::backtest::bill::{Bill, Course};
use crate::backtest::chart;
use crate::backtest::report::{Comparison, Report, Summary, VmReport, Way};
use crate::backtest::trace::Demand;
use crate::domain::{Resource, sanitize};

/// The column of names: of charts, and of ways to size.
const NAMES: usize = 15;
/// Wider charts do not tell more.
const WIDEST: usize = 160;
/// From an empty cell to a full one.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole report for a terminal of `width` columns.
pub(super) fn text(report: &Report, width: usize) -> String {
    let mut text: String = report.vms.iter().map(|vm| one(vm, width) + "\n").collect();
    if report.vms.len() > 1 {
        let count = format!("All {} VMs", report.vms.len());
        text += &heading(&count, &length(&report.total), width);
        text += &summary(&report.total);
        text.push('\n');
    }
    text += &verdict(&report.total);
    let dim = Style::new().dimmed();
    for note in &report.notes {
        text += &format!("{dim}{note}{dim:#}\n");
    }
    text
}

fn one(vm: &VmReport, width: usize) -> String {
    let mut ceilings = format!("up to {} cores", vm.max_cores);
    if let Some(max) = vm.max_memory_mib {
        ceilings += &format!(" and {} GiB", round(max / 1024.0));
    }
    let about = format!("{}, {ceilings}", length(&vm.summary));
    let mut text = heading(&vm.trace, &about, width);
    text += &charts("CPU", &vm.demand.0, &vm.cpu, vm.max_cores, width);
    if let (Some(demand), Some(max)) = (&vm.demand.1, vm.max_memory_mib) {
        text += &charts("memory", demand, &vm.memory, max, width);
    }
    text + &summary(&vm.summary)
}

fn heading(name: &str, about: &str, width: usize) -> String {
    let bold = Style::new().bold();
    let room = width.saturating_sub(about.chars().count() + 2).max(12);
    format!("{bold}{}{bold:#}  {about}\n", sanitize(name, room))
}

/// `14 days`, `36 h`; and what is missing.
pub(super) fn length(summary: &Summary) -> String {
    let told = |hours: f64| match hours {
        hours if hours >= 96.0 => format!("{} days", round(hours / 24.0)),
        hours => format!("{} h", round(hours)),
    };
    match summary.unknown_hours {
        unknown if unknown > 0.0 => {
            format!("{} ({} unknown)", told(summary.hours), told(unknown))
        }
        _ => told(summary.hours),
    }
}

/// What was wanted over what the VM would have had, on one scale: a full bar is `most`.
fn charts(name: &str, demand: &Demand, course: &Course, most: f64, width: usize) -> String {
    let count = width.saturating_sub(NAMES + 2).clamp(10, WIDEST);
    let wanted = bars(&chart::of_demand(demand, count), most);
    let had = bars(&chart::of_course(course, demand.end(), count), most);
    let (dim, cyan) = (Style::new().dimmed(), AnsiColor::Cyan.on_default());
    format!(
        "  {:<NAMES$}{dim}{wanted}{dim:#}\n  {:<NAMES$}{cyan}{had}{cyan:#}\n",
        format!("{name} needed"),
        "  given",
    )
}

fn bars(peaks: &[Option<f64>], most: f64) -> String {
    let bar = |peak: &Option<f64>| match peak {
        None => ' ',
        Some(value) => {
            let step = (value / most.max(f64::EPSILON) * BARS.len() as f64).ceil() as usize;
            BARS[step.clamp(1, BARS.len()) - 1]
        }
    };
    peaks.iter().map(bar).collect()
}

fn summary(summary: &Summary) -> String {
    let memory = summary.memory.as_ref().map(table);
    table(&summary.cpu) + &memory.unwrap_or_default()
}

fn table(comparison: &Comparison) -> String {
    let (dim, bold) = (Style::new().dimmed(), Style::new().bold());
    let what = match comparison.resource {
        Resource::Cpu => "CPU, core-h",
        Resource::Memory => "memory, GiB-h",
    };
    let mut text = format!(
        "  {dim}{what:<NAMES$}{:>11}{:>11}{:>11}{:>12}{:>10}{dim:#}\n",
        "ALLOCATED", "SLACK", "UNMET", "TIME SHORT", "CHANGES"
    );
    for way in Way::ALL {
        let style = if way == Way::Agent {
            bold
        } else {
            Style::new()
        };
        let row = row(way.name(), comparison.of(way));
        text += &format!("  {style}{row}{style:#}\n");
    }
    text
}

fn row(name: &str, bill: &Bill) -> String {
    format!(
        "{name:<NAMES$}{:>11}{:>11}{:>11}{:>12}{:>10}",
        round(bill.allocated),
        round(bill.slack),
        round(bill.unmet),
        percent(bill.short, bill.hours),
        bill.changes,
    )
}

/// What it means, in a sentence for each resource.
fn verdict(total: &Summary) -> String {
    let all = [Some(&total.cpu), total.memory.as_ref()];
    all.into_iter().flatten().map(saving).collect()
}

fn saving(comparison: &Comparison) -> String {
    let (agent, peak) = (comparison.of(Way::Agent), comparison.of(Way::FixedAtPeak));
    let saved = 100.0 * (1.0 - agent.allocated / peak.allocated.max(f64::EPSILON));
    let (much, word) = (
        saved.abs().round(),
        if saved < 0.0 { "more" } else { "less" },
    );
    format!(
        "{}: {much:.0} % {word} held than sizes fixed at the peak, short {} of the time.\n",
        match comparison.resource {
            Resource::Cpu => "CPU",
            Resource::Memory => "Memory",
        },
        percent(agent.short, agent.hours),
    )
}

/// As many digits as a reader takes in.
pub(super) fn round(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value if value < 0.005 => "<0.01".to_owned(),
        value => format!("{value:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
    }
}

/// `part` of `whole` in percent.
pub(super) fn percent(part: f64, whole: f64) -> String {
    format!("{} %", round(100.0 * part / whole.max(f64::EPSILON)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A day of an office server, and a VM with no memory of its own and a gap.
    fn report() -> Report {
        let day = |values: [f64; 6]| {
            let points: Vec<_> = (0..).step_by(14_400_000).zip(values).collect();
            Demand::new(&points, Duration::from_secs(14_400)).unwrap()
        };
        let bill = |allocated, unmet, changes| Bill {
            hours: 24.0,
            demand: 40.0,
            allocated,
            slack: allocated - 40.0,
            unmet,
            short: unmet,
            changes,
            ..Bill::default()
        };
        let compared = |resource| Comparison {
            resource,
            bills: [
                bill(56.5, 0.02, 12),
                bill(71.25, 1.5, 31),
                bill(96.0, 0.0, 0),
                bill(192.0, 0.0, 0),
            ],
        };
        let office = VmReport {
            trace: "office".to_owned(),
            max_cores: 8.0,
            max_memory_mib: Some(8192.0),
            cpu: vec![(0, 2.0), (28_800_000, 4.0), (64_800_000, 1.0)],
            memory: vec![(0, 8192.0), (5000, 2048.0)],
            summary: Summary {
                hours: 24.0,
                unknown_hours: 0.0,
                cpu: compared(Resource::Cpu),
                memory: Some(compared(Resource::Memory)),
            },
            demand: (
                day([0.5, 0.5, 3.4, 3.9, 0.5, 0.2]),
                Some(day([1500.0, 1500.0, 1600.0, 1600.0, 1500.0, 1500.0])),
            ),
        };
        let mut batch = office.clone();
        batch.trace =
            "batch\u{1b}[31m-with-a-name-that-is-longer-than-most-names-of-machines".to_owned();
        (batch.max_memory_mib, batch.memory) = (None, Vec::new());
        batch.demand = (batch.demand.0.known_for(Duration::from_secs(7200)), None);
        (batch.summary.memory, batch.summary.unknown_hours) = (None, 12.0);
        Report::of(vec![office, batch], vec!["Peaks do not show.".to_owned()])
    }

    fn plain(width: usize) -> String {
        anstream::adapter::strip_str(&text(&report(), width)).to_string()
    }

    #[test]
    fn a_report_fits_80_columns() {
        let text = plain(80);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        insta::assert_snapshot!("at_80", text);
    }

    #[test]
    fn charts_use_the_width_there_is() {
        insta::assert_snapshot!("at_200", plain(200));
    }

    #[test]
    fn nothing_narrower_than_the_table_breaks_it() {
        for width in [0, 1, 20, 40] {
            assert!(plain(width).contains("fixed at peak"));
        }
    }

    #[test]
    fn a_little_is_not_shown_as_nothing() {
        assert_eq!(
            [0.0, 0.001, 0.05, 4.5, 12.04, 99.96, 1234.5]
                .map(round)
                .join(" "),
            "0 <0.01 0.05 4.5 12 100 1234"
        );
    }
}
