//! How close the policies come to a clairvoyant: `cargo bench --bench policy_scores [-- FOLDER…]`.
//!
//! The cost of a VM's resource is `Σ allocation + L · Σ unmet demand + C · changes`; the score is that cost divided by
//! the least that was possible knowing the future, and the mean over the VMs of a set is shown. 1.00 is perfect.
//!
//! A folder has a folder for each set of traces. Without one, the selection in `tests/data/traces` is used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vm_autoscale::backtest::bill::Bill;
use vm_autoscale::backtest::contest::{Contestant, Race};
use vm_autoscale::backtest::trace::Trace;
use vm_autoscale::domain::Resource;

fn main() -> ExitCode {
    // Cargo itself adds options.
    let mut folders: Vec<PathBuf> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .map(PathBuf::from)
        .collect();
    if folders.is_empty() {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces"));
    }
    for folder in folders {
        if let Err(why) = run(&folder) {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(folder: &Path) -> Result<(), String> {
    let mut sets: Vec<Set> = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir())
        .map(|path| Set::read(&path))
        .collect::<Result<_, _>>()?;
    sets.iter_mut().for_each(Set::judge);
    println!("Traces: {}\n", folder.display());
    table(
        "Score: cost ÷ oracle's cost, CPU / memory",
        &sets,
        |result| format!("{:.3}", result.score),
    );
    table("Changes per VM and day, CPU / memory", &sets, |result| {
        format!("{:.0}", result.changes_per_day)
    });
    table(
        "Time short of demand in percent, CPU / memory",
        &sets,
        |result| format!("{:.2}", result.short_percent),
    );
    table(
        "Shortages that a shrink of the ten minutes before caused, all VMs, CPU / memory",
        &sets,
        |result| result.regretted.to_string(),
    );
    Ok(())
}

struct Set {
    name: String,
    races: Vec<Race>,
    /// By resource, then in the order of the contestants.
    means: [Vec<Means>; 2],
}

impl Set {
    fn read(folder: &Path) -> Result<Self, String> {
        let mut races = Vec::new();
        for path in entries(folder)? {
            if path.extension().is_none_or(|ending| ending != "csv") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let text =
                std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let trace =
                Trace::parse(&name, &text).map_err(|e| format!("{}: {e}", path.display()))?;
            races.extend(Race::of(&trace));
        }
        Ok(Self {
            name: folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            races,
            means: [Vec::new(), Vec::new()],
        })
    }

    /// The means of all contestants in a resource; nothing where no trace has it.
    fn judge(&mut self) {
        for (column, resource) in Resource::ALL.into_iter().enumerate() {
            let races: Vec<&Race> = self
                .races
                .iter()
                .filter(|race| race.resource == resource)
                .collect();
            if !races.is_empty() {
                self.means[column] = Contestant::ALL.map(|who| Means::of(&races, who)).into();
            }
        }
    }
}

struct Means {
    score: f64,
    changes_per_day: f64,
    short_percent: f64,
    regretted: usize,
}

impl Means {
    fn of(races: &[&Race], who: Contestant) -> Self {
        let bills: Vec<(f64, Bill)> = races
            .iter()
            .map(|race| {
                let bill = race.bill(&race.run(who));
                (race.score(&bill), bill)
            })
            .collect();
        let mean = |value: &dyn Fn(&(f64, Bill)) -> f64| {
            bills.iter().map(value).sum::<f64>() / bills.len() as f64
        };
        Self {
            score: mean(&|(score, _)| *score),
            changes_per_day: mean(&|(_, bill)| bill.changes as f64 * 24.0 / bill.hours),
            short_percent: mean(&|(_, bill)| 100.0 * bill.short / bill.hours),
            regretted: bills.iter().map(|(_, bill)| bill.regretted).sum(),
        }
    }
}

fn table(title: &str, sets: &[Set], show: impl Fn(&Means) -> String) {
    println!("{title}");
    print!("{:14}", "");
    Contestant::ALL
        .iter()
        .for_each(|who| print!("{:>17}", who.name()));
    println!();
    for set in sets {
        print!("{:14}", set.name);
        for index in 0..Contestant::ALL.len() {
            let cell = |means: &Vec<Means>| means.get(index).map_or_else(|| "–".to_owned(), &show);
            print!("{:>17}", set.means.each_ref().map(cell).join(" / "));
        }
        println!();
    }
    println!();
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let reading = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut paths = std::fs::read_dir(folder)
        .map_err(reading)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(reading)?;
    paths.sort();
    Ok(paths)
}
