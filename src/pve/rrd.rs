//! What Proxmox VE recorded of a VM: `pvesh get /nodes/NODE/qemu/VMID/rrddata`.

use serde::Deserialize;

use super::error::CommandError;
use super::pvesh::{Pvesh, fraction};
use crate::domain::{NodeName, VmId};

/// How far back. The further, the longer the means of which the record is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Timeframe {
    /// The last day.
    Day,
    /// The last week.
    Week,
    /// The last month.
    Month,
    /// The last year.
    Year,
}

impl Timeframe {
    /// PVE's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// One point of the record. What PVE did not record is missing: pvestatd was down, or the VM did not run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct RrdPoint {
    /// Seconds since 1970.
    pub time: i64,
    /// CPU used, as a fraction of `maxcpu`.
    #[serde(default, deserialize_with = "fraction")]
    pub cpu: Option<f64>,
    /// vCPUs.
    #[serde(default, deserialize_with = "fraction")]
    pub maxcpu: Option<f64>,
    /// Memory used, in bytes.
    #[serde(default, deserialize_with = "fraction")]
    pub mem: Option<f64>,
    /// Memory, in bytes.
    #[serde(default, deserialize_with = "fraction")]
    pub maxmem: Option<f64>,
}

impl RrdPoint {
    /// CPU used, in cores. As in `/cluster/resources`, 0 says that there was no second sample yet.
    pub fn cores(&self) -> Option<f64> {
        Some(self.cpu.filter(|cpu| *cpu > 0.0)? * self.maxcpu?)
    }

    /// Memory used, in mebibytes. A guest that runs never uses nothing.
    pub fn mebibytes(&self) -> Option<f64> {
        Some(self.mem.filter(|mem| *mem > 0.0)? / f64::from(1 << 20))
    }
}

impl Pvesh {
    /// The record of `vm`, oldest first, as means over a minute and longer.
    ///
    /// # Errors
    /// When the command fails, or prints something else than the record.
    pub async fn rrddata(
        &self,
        node: &NodeName,
        vm: VmId,
        timeframe: Timeframe,
    ) -> Result<Vec<RrdPoint>, CommandError> {
        let path = format!("/nodes/{node}/qemu/{vm}/rrddata");
        let args = [
            "get",
            &path,
            "--timeframe",
            timeframe.word(),
            "--cf",
            "AVERAGE",
            "--output-format",
            "json",
        ];
        self.get(&args).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_without_values_is_unknown_and_not_zero() {
        let text = r#"[{"time":60},{"time":120,"cpu":0,"maxcpu":4,"mem":0},
            {"time":180,"cpu":0.25,"maxcpu":"4","mem":1073741824.5,"new":{}}]"#;
        let points: Vec<RrdPoint> = serde_json::from_str(text).unwrap();
        let seen: Vec<_> = points
            .iter()
            .map(|p| (p.cores(), p.mebibytes().map(f64::round)))
            .collect();
        assert_eq!(
            seen,
            [(None, None), (None, None), (Some(1.0), Some(1024.0))]
        );
    }
}
