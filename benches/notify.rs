//! What the tick pays for telling: handing in an event must cost next to nothing, also in a burst of 10,000.

#![allow(
    clippy::expect_used,
    reason = "a figure that cannot be taken ends the benchmark"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it fails")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vm_autoscale::domain::Moment;
use vm_autoscale::notify::{ChannelSettings, Command, Kind, Notifier, Settings, Surroundings};
use vm_autoscale::record::{Event, EventKind};

const BURST: u32 = 10_000;

/// Three channels, which have not got round to sending when the burst is over.
fn settings() -> Settings {
    let mut settings = Settings {
        gather: Duration::from_secs(3_600),
        ..Settings::default()
    };
    for name in ["phone", "mail", "hook"] {
        let channel = ChannelSettings::new(Kind::Command(Command {
            program: "/bin/true".into(),
            args: Vec::new(),
        }));
        settings.channels.insert(name.to_owned(), channel);
    }
    settings
}

/// Different each time, so that none is left out as a repetition.
fn event(n: u32, important: bool) -> Event {
    let what = format!("problem-{n}");
    Event {
        at: Moment::now(),
        node: "pve1".parse().unwrap(),
        vm: None,
        kind: match important {
            true => EventKind::Degraded {
                what,
                why: "something does not answer".to_owned(),
            },
            false => EventKind::Recovered {
                what,
                after: Duration::from_secs(1),
            },
        },
    }
}

fn telling(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let around = Surroundings {
        node: "pve1".parse().unwrap(),
        root: "/".into(),
        credentials: None,
    };
    let mut group = c.benchmark_group("tell");
    group.throughput(Throughput::Elements(u64::from(BURST)));
    group.sample_size(10);
    for (name, important) in [
        ("10000 notices", false),
        ("10000 warnings, in the spool", true),
    ] {
        group.bench_function(name, |bench| {
            bench.iter_batched(
                || {
                    let spool = tempfile::tempdir().unwrap();
                    let notifier = Notifier::start(&settings(), spool.path(), around.clone());
                    let events: Vec<Event> = (0..BURST).map(|n| event(n, important)).collect();
                    (spool, notifier, events)
                },
                |(spool, notifier, events)| {
                    for event in &events {
                        notifier.tell(black_box(event));
                    }
                    (spool, notifier, events)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, telling);
criterion_main!(benches);
