//! Events to the journal: the sentence for people, and the fields that `journalctl VMID=101` searches.

use crate::domain::Amount;

use super::{Event, EventKind, Severity};

/// Writes one event to the log that the process has set up: the journal under systemd, else stderr.
pub fn write(event: &Event) {
    let fields = Fields::of(event);
    // `tracing` wants its level at compile time, hence one arm each.
    macro_rules! emit {
        ($level:ident) => {
            tracing::$level!(
                VMID = fields.vmid,
                VM_NAME = fields.vm_name,
                NODE = event.node.as_str(),
                RESOURCE = fields.resource,
                ACTION = fields.action,
                FROM = fields.from,
                TO = fields.to,
                REASON = fields.reason,
                OUTCOME = fields.outcome,
                "{event}"
            )
        };
    }
    match event.severity() {
        Severity::Info | Severity::Notice => emit!(info),
        Severity::Warning => emit!(warn),
        Severity::Error => emit!(error),
    }
}

/// The structured side of an event. A field that does not apply is left out.
#[derive(Debug, Default)]
struct Fields {
    vmid: Option<u32>,
    vm_name: Option<String>,
    resource: Option<String>,
    action: &'static str,
    from: Option<String>,
    to: Option<String>,
    reason: Option<String>,
    outcome: Option<&'static str>,
}

impl Fields {
    fn of(event: &Event) -> Self {
        let mut fields = Self {
            vmid: event.vm.as_ref().map(|vm| vm.id.get()),
            vm_name: event.vm.as_ref().map(|vm| vm.name.to_string()),
            action: event.kind.word(),
            ..Self::default()
        };
        match &event.kind {
            EventKind::Changed(done) => {
                fields.resource = Some(done.change.lever.resource().to_string());
                fields.action = if done.change.grows() {
                    "grow"
                } else {
                    "shrink"
                };
                fields.from = Some(plain(done.change.from));
                fields.to = Some(plain(done.change.to));
                fields.reason = Some(done.change.reason.to_string());
                fields.outcome = Some(done.outcome.word());
            }
            EventKind::WantsMore {
                resource,
                wants,
                limit,
                why,
            } => {
                fields.resource = Some(resource.to_string());
                fields.from = Some(plain(*limit));
                fields.to = Some(plain(*wants));
                fields.reason = Some(why.clone());
            }
            EventKind::HostLimit { resource, why } => {
                fields.resource = Some(resource.to_string());
                fields.reason = Some(why.clone());
            }
            EventKind::BreakerOpened { lever, why, .. } => {
                fields.resource = Some(lever.resource().to_string());
                fields.reason = Some(why.clone());
            }
            _ => {}
        }
        fields
    }
}

/// A bare number for machines: cores, or mebibytes.
fn plain(amount: Amount) -> String {
    match amount {
        Amount::Cpu(cores) => cores.to_string(),
        Amount::Memory(mib) => mib.0.to_string(),
    }
}
