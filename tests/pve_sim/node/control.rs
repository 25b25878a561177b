//! Commands to a running node: files in `var/lib/pve-sim/control/`, carried out in the order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::load::Demand;
use super::scenario::Command;
use super::state::Node;

impl Node {
    /// Carries out what lies in the control directory.
    pub(crate) fn obey_control(&mut self) -> Result<()> {
        for path in waiting(&self.layout.state("control"))? {
            let outcome = read(&path).and_then(|command| self.obey(command));
            self.commands += 1;
            if let Err(error) = outcome {
                let rejected = path.with_extension("rejected");
                self.layout.replace_at(&rejected, &format!("{error:#}\n"))?;
            }
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        let now = self.now();
        match command {
            Command::Load { vm, load } => {
                let demand = Demand::new(&load)?;
                self.habits.entry(vm).or_default().load = load;
                if let Some(vm) = self.vm_mut(vm) {
                    (vm.demand, vm.demand_since) = (demand, now);
                }
            }
            Command::Guest { vm, guest } => {
                self.habits.entry(vm).or_default().guest = guest.clone();
                if let Some(vm) = self.vm_mut(vm) {
                    vm.guest.spec = guest;
                }
            }
            Command::Monitor { vm, state } => self.running(vm)?.monitor = state,
            Command::Start { vm } => self.start(vm, 0.0)?,
            Command::Stop { vm } => self.stop(vm),
            Command::Pause { vm } => self.running(vm)?.machine.running = false,
            Command::Resume { vm } => self.running(vm)?.machine.running = true,
            Command::Quorum { quorate } => {
                self.quorate = quorate;
                self.write_members()?;
            }
            Command::Writable { writable } => {
                self.writable = writable;
                self.write_members()?;
            }
            Command::Other { node, is } => {
                self.scenario.others.insert(node, is);
                self.write_members()?;
                self.write_rrd()?;
            }
            Command::Base { cpu, memory_mib } => {
                self.scenario.node.base_cpu = cpu;
                self.scenario.node.base_memory_mib = memory_mib;
            }
        }
        Ok(())
    }

    fn running(&mut self, id: u32) -> Result<&mut super::vm::Vm> {
        self.vm_mut(id)
            .with_context(|| format!("VM {id} not running"))
    }
}

/// Command files by name.
fn waiting(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("{}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Command> {
    let text = fs::read_to_string(path)?;
    serde_json::from_str(&text).with_context(|| text.clone())
}
