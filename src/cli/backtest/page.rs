//! A backtest as one page of HTML that needs nothing else: to look at, or to send to somebody.

use super::plot::plot;
use super::text::{length, percent, round};
use crate::backtest::report::{Comparison, Report, Summary, VmReport, Way};
use crate::domain::{Resource, sanitize};

/// No scripts, no fonts or pictures from elsewhere; light or dark as the reader has it.
const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut body = format!(
        "<header><p class=\"brand\">vm-autoscale</p><h1>{}</h1><p class=\"lead\">{}</p></header>",
        title(report),
        escape(&lead(&report.total)),
    );
    body += &cards(&report.total);
    body += "<section><h2>In total</h2>";
    body += &summary(&report.total);
    body += "</section>";
    for vm in &report.vms {
        body += &one(vm);
    }
    body += "<footer>";
    for note in &report.notes {
        body += &format!("<p>{}</p>", escape(note));
    }
    body += &format!(
        "<p>Allocated, slack (allocated but not needed) and unmet (needed but not allocated) in core-hours and \
         GiB-hours. Fixed at peak: what the VM needs at its peak, all the time. Fixed at max: all that it may have. \
         Predecessor: proxmox-vm-autoscale 1.7.2 with its defaults.</p><p>vm-autoscale {} backtest</p></footer>",
        env!("CARGO_PKG_VERSION")
    );
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        title(report)
    )
}

fn title(report: &Report) -> String {
    match report.vms.as_slice() {
        [one] => format!("Backtest of {}", name(one)),
        several => format!("Backtest of {} VMs", several.len()),
    }
}

/// What this is.
fn lead(total: &Summary) -> String {
    format!(
        "What vm-autoscale would have given, and what it would have cost, over {} of history.",
        length(total)
    )
}

/// The VM's name, safe to show.
fn name(vm: &VmReport) -> String {
    escape(&sanitize(&vm.trace, 80))
}

/// What a boss reads: a large number each.
fn cards(total: &Summary) -> String {
    let mut cards = String::new();
    for comparison in [Some(&total.cpu), total.memory.as_ref()]
        .into_iter()
        .flatten()
    {
        let (agent, peak) = (comparison.of(Way::Agent), comparison.of(Way::FixedAtPeak));
        let share = 100.0 * agent.allocated / peak.allocated.max(f64::EPSILON);
        let resource = label(comparison);
        cards += &card(
            &format!("{share:.0} %"),
            &format!("{resource} held, of what sizes fixed at the peak hold"),
        );
        cards += &card(
            &percent(agent.short, agent.hours),
            &format!("of the time short of {resource}"),
        );
    }
    format!("<section class=\"cards\">{cards}</section>")
}

fn card(number: &str, what: &str) -> String {
    format!(
        "<div class=\"card\"><b>{}</b><span>{}</span></div>",
        escape(number),
        escape(what)
    )
}

fn label(comparison: &Comparison) -> &'static str {
    match comparison.resource {
        Resource::Cpu => "CPU",
        Resource::Memory => "memory",
    }
}

fn one(vm: &VmReport) -> String {
    let name = name(vm);
    let mut html = format!("<section><h2>{name}</h2>");
    let legend = "<span class=\"key demand\"></span>needed <span class=\"key given\"></span>given by vm-autoscale";
    html += &format!(
        "<h3>CPU <small>up to {} cores</small></h3><p class=\"legend\">{legend}</p>",
        vm.max_cores
    );
    let title = format!("CPU of {name}: needed and given over time");
    html += &plot(&title, &vm.demand.0, &vm.cpu, (1.0, "cores"));
    if let (Some(demand), Some(max)) = (&vm.demand.1, vm.max_memory_mib) {
        html += &format!(
            "<h3>Memory <small>up to {} GiB</small></h3><p class=\"legend\">{legend}</p>",
            round(max / 1024.0)
        );
        let title = format!("Memory of {name}: needed and given over time");
        html += &plot(&title, demand, &vm.memory, (1.0 / 1024.0, "GiB"));
    }
    html + &summary(&vm.summary) + "</section>"
}

fn summary(summary: &Summary) -> String {
    let both = [Some(&summary.cpu), summary.memory.as_ref()];
    both.into_iter().flatten().map(table).collect()
}

fn table(comparison: &Comparison) -> String {
    let unit = match comparison.resource {
        Resource::Cpu => "CPU, core-hours",
        Resource::Memory => "Memory, GiB-hours",
    };
    let heads = ["Allocated", "Slack", "Unmet", "Time short", "Changes"];
    let heads: String = heads
        .iter()
        .map(|head| format!("<th scope=\"col\">{head}</th>"))
        .collect();
    let mut rows = String::new();
    for way in Way::ALL {
        let bill = comparison.of(way);
        let cells = [
            round(bill.allocated),
            round(bill.slack),
            round(bill.unmet),
            percent(bill.short, bill.hours),
            bill.changes.to_string(),
        ];
        let cells: String = cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect();
        let class = if way == Way::Agent {
            " class=\"agent\""
        } else {
            ""
        };
        rows += &format!(
            "<tr{class}><th scope=\"row\">{}</th>{cells}</tr>",
            way.name()
        );
    }
    format!(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">{unit}</th>{heads}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// Text that is only text in HTML, in an attribute, too.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}
