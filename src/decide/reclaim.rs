//! What calm VMs hold beyond what is enough for them, for those that the node has no room for.

use crate::domain::Resource;

use super::budget::Missing;
use super::judged::Judged;
use super::plan::Reason;

/// Lets calm VMs give way to those that were refused: never to one of a lower priority, those of the lowest first, and
/// among them those that have most to spare.
///
/// Nothing is taken where all of it together would not be enough for anything.
pub(super) fn reclaim(judged: &mut [Judged]) {
    for resource in Resource::ALL {
        let refused = judged.iter().filter(|j| j.verdict.resource == resource);
        let refused = refused.filter_map(|j| Some((j.priority, j.missing?)));
        let mut refused: Vec<(u32, Missing)> = refused.collect();
        refused.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        for (priority, missing) in refused {
            let calm = judged.iter_mut().filter(|j| {
                j.verdict.resource == resource && j.priority <= priority && j.go.is_none()
            });
            give_way(calm.filter(|j| j.to_spare() > 0.0).collect(), missing);
        }
    }
}

/// Takes what is missing from those that are `calm`.
fn give_way(mut calm: Vec<&mut Judged>, missing: Missing) {
    let all: f64 = calm.iter().map(|j| j.to_spare()).sum();
    if all < missing.at_all {
        return;
    }
    calm.sort_by(|one, other| {
        let most_first = other.to_spare().total_cmp(&one.to_spare());
        one.priority.cmp(&other.priority).then(most_first)
    });
    let mut left = missing.in_full;
    for judged in calm {
        if left <= 0.0 {
            return;
        }
        let Some((movable, enough)) = judged.spare.take() else {
            continue;
        };
        let to = movable.stops.down(movable.allocation - left).max(enough);
        left -= movable.allocation - to;
        let resource = judged.verdict.resource;
        judged.verdict.reason = Reason::GivesWay {
            enough: resource.amount(enough),
        };
        judged.verdict.target = Some(resource.amount(to));
        judged.go = Some((movable, to));
    }
}
