//! The first line of a trace: its step, and the most that its VM can have.

use std::time::Duration;

use crate::config::{CORES, MEMORY};
use crate::domain::{Cores, Mib};

use super::{LATEST_S, TraceError};

/// What the first line says.
pub(super) struct Preamble {
    pub(super) step: Duration,
    pub(super) max_cores: Cores,
    pub(super) max_memory: Option<Mib>,
}

impl Preamble {
    pub(super) fn parse(line: &str) -> Result<Self, TraceError> {
        let words = line
            .strip_prefix('#')
            .ok_or_else(|| bad(format!("got {line:?}")))?;
        let missing = |key: &str| bad(format!("{key} is missing"));
        let most = |most: f64, hint| Most {
            value: most,
            why: ", as no VM has more",
            hint,
        };
        let step = Most {
            value: LATEST_S,
            why: "",
            hint: "",
        };
        let step = number(words, "step_s", step)?.ok_or_else(|| missing("step_s"))?;
        let cores = number(words, "max_cores", most(CORES.end().as_f64(), ""))?;
        let cores = cores.ok_or_else(|| missing("max_cores"))?;
        let memory = most(MEMORY.end().as_f64(), "; is it in MiB?");
        let memory = number(words, "max_memory_mib", memory)?;
        if step < 0.001 {
            return Err(bad(format!("step_s must be 0.001 or more, got {step}")));
        }
        Ok(Self {
            step: Duration::from_millis((step * 1000.0).round() as u64),
            max_cores: Cores::from_f64(cores),
            max_memory: memory.map(Mib::from_f64),
        })
    }
}

fn bad(why: String) -> TraceError {
    TraceError::Preamble(why)
}

/// The most that a number can be, and how that is said.
struct Most {
    value: f64,
    why: &'static str,
    hint: &'static str,
}

/// The number that is written as `key=…` among `words`, if it is.
fn number(words: &str, key: &str, most: Most) -> Result<Option<f64>, TraceError> {
    let text = words
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let Some(text) = text else {
        return Ok(None);
    };
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= most.value => Ok(Some(number)),
        Ok(number) if number > most.value => {
            let Most { value, why, hint } = most;
            Err(bad(format!(
                "{key} must be {value} or less{why}, got {text:?}{hint}"
            )))
        }
        _ => Err(bad(format!("{key} must be a number above 0, got {text:?}"))),
    }
}
