//! What may happen in the model, and how often.

/// How often each thing may happen. Without bounds there would be no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Steps of time.
    pub(crate) time: u8,
    /// Live migrations, successful or not.
    pub(crate) moves: u8,
    /// Agents killed.
    pub(crate) crashes: u8,
    /// Nodes cut off from the others.
    pub(crate) cuts: u8,
    /// Nodes that die.
    pub(crate) deaths: u8,
    /// Writes that hang and land later.
    pub(crate) late: u8,
}

impl Budget {
    pub(crate) const fn of(time: u8) -> Self {
        Self {
            time,
            moves: 0,
            crashes: 0,
            cuts: 0,
            deaths: 0,
            late: 0,
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    TimePasses,
    /// An agent takes its next step.
    Agent(usize),
    /// `qm` changes the VM, or refuses.
    Qm(usize),
    AgentDies(usize),
    AgentStarts(usize),
    /// A write of another node arrives.
    Arrives(usize),
    /// The kernel looks anew whether /etc/pve can be written.
    Shows(usize),
    MigrationBegins,
    MigrationFails,
    MigrationHandsOver,
    MigrationEnds,
    CutOff(usize),
    Heals,
    Dies(usize),
    Returns(usize),
    /// HA takes the VM of a dead node to this one.
    Recovers(usize),
    /// The next write of facts by this node will hang.
    Hangs(usize),
    Lands,
}
