//! What calm VMs hold beyond what is enough for them, for those that the node has no room for.

use crate::domain::Resource;

use super::Reason;
use super::budget::{Budget, Request, Shortage};
use super::judged::Judged;

/// Lets calm VMs give way to those that were refused: never to one of a lower priority, those of the lowest first, and
/// among them those that have most to spare.
///
/// Nothing is taken where all of it together would not be enough for anything.
pub(super) fn reclaim(judged: &mut [Judged], budget: &Budget) {
    for resource in Resource::ALL {
        let Some(mut shortage) = budget.shortage(resource) else {
            continue;
        };
        let of_resource = || judged.iter().filter(|j| j.verdict.resource == resource);
        // What is given back of itself need not be taken as well.
        shortage.there += of_resource().map(|j| (-j.extra()).max(0.0)).sum::<f64>();
        let refused = of_resource().filter_map(|j| Some((j.priority, j.refused?)));
        let mut refused: Vec<(u32, Request)> = refused.collect();
        refused.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        for (priority, request) in refused {
            let calm = judged.iter_mut().filter(|j| {
                j.verdict.resource == resource && j.priority <= priority && j.to_spare() > 0.0
            });
            give_way(calm.collect(), &request, &mut shortage);
        }
    }
}

/// Takes what is missing for `request` from those that are `calm`, and counts it as handed out.
fn give_way(mut calm: Vec<&mut Judged>, request: &Request, shortage: &mut Shortage) {
    let wanted = request.extra.min(shortage.most);
    if wanted < request.grain {
        return;
    }
    let reopens = if request.urgent {
        0.0
    } else {
        shortage.reopens
    };
    let all: f64 = calm.iter().map(|j| j.to_spare()).sum();
    if shortage.there + all < request.grain + reopens {
        return;
    }
    calm.sort_by(|one, other| {
        let most_first = other.to_spare().total_cmp(&one.to_spare());
        one.priority.cmp(&other.priority).then(most_first)
    });
    for judged in calm {
        let left = wanted + reopens - shortage.there;
        if left <= 0.0 {
            break;
        }
        shortage.there += take(judged, left);
    }
    shortage.there -= wanted.min(shortage.there.max(0.0));
    shortage.most -= wanted;
}

/// Takes so much, or what it has to spare; returns how much that is.
fn take(judged: &mut Judged, amount: f64) -> f64 {
    let Some((movable, enough)) = judged.spare.clone() else {
        return 0.0;
    };
    let had = movable.allocation + judged.extra();
    let to = movable.stops.down(had - amount).max(enough);
    let resource = judged.verdict.resource;
    judged.verdict.reason = Reason::GivesWay {
        enough: resource.amount(enough),
    };
    judged.verdict.target = Some(resource.amount(to));
    judged.go = Some((movable, to));
    had - to
}
