//! Where events come in and are laid before each channel that is to tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::{Counts, Lane, Rules};
use super::spool::{Dealt, Spool};
use super::topic::recovery;
use super::wording::bounded;
use crate::domain::{Moment, NodeName};
use crate::record::{Event, EventKind, Severity};

/// Events from this severity on survive a restart.
const IMPORTANT: Severity = Severity::Warning;

/// A channel's lane, and the bell that wakes its worker.
pub(super) struct Post {
    pub(super) name: String,
    lane: Mutex<Lane>,
    pub(super) bell: Notify,
}

impl Post {
    /// What the spool is to know once `ids` are dealt with.
    pub(super) fn dealt(&self, ids: Vec<u64>) -> Dealt<'_> {
        Dealt {
            channel: &self.name,
            ids,
            dropped: self.lane().dropped(IMPORTANT),
        }
    }

    /// The lane. A panic elsewhere must not end the telling, so a poisoned lock is taken as it is.
    pub(super) fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All lanes, and the spool behind them.
pub(super) struct Desk {
    pub(super) node: NodeName,
    posts: RwLock<BTreeMap<String, Arc<Post>>>,
    spool: Mutex<Spool>,
}

impl Desk {
    pub(super) fn new(node: NodeName, spool_dir: &Path) -> Self {
        Self {
            node,
            posts: RwLock::new(BTreeMap::new()),
            spool: Mutex::new(Spool::open(spool_dir)),
        }
    }

    pub(super) fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn posts(&self) -> Vec<Arc<Post>> {
        let posts = self.posts.read().unwrap_or_else(PoisonError::into_inner);
        posts.values().cloned().collect()
    }

    /// Lays `event` before every channel that is to tell it.
    ///
    /// Waits for nothing but a write of one line into the page cache, and only if the event is important: without that
    /// line the death of the process in the next instant would lose it. A disk that does not even take that has also
    /// stopped pmxcfs, and with it every change of a VM.
    pub(super) fn tell(&self, event: &Event) {
        let posts = self.posts();
        if !posts.is_empty() {
            self.lay(event, &posts, |post| post.lane().takes(event));
        }
    }

    /// Tells something about the channel `about` itself through all the others, whatever they are told otherwise.
    pub(super) fn report(&self, about: &str, kind: EventKind) {
        let event = Event {
            at: Moment::now(),
            node: self.node.clone(),
            vm: None,
            kind,
        };
        let ended = recovery(&event).is_some();
        self.lay(&event, &self.posts(), |post| {
            post.name != about && (!ended || post.lane().takes(&event))
        });
    }

    fn lay(&self, event: &Event, posts: &[Arc<Post>], takes: impl Fn(&Post) -> bool) {
        let takers: Vec<&Arc<Post>> = posts.iter().filter(|post| takes(post)).collect();
        if takers.is_empty() {
            return;
        }
        let event = Arc::new(bounded(event));
        let id = self.keep(&event, &takers);
        let now = Instant::now();
        let mut settled = Vec::new();
        for post in &takers {
            let ids = post.lane().push(id, Arc::clone(&event), now);
            if !ids.is_empty() {
                settled.push(post.dealt(ids));
            }
            post.bell.notify_one();
        }
        if !settled.is_empty() {
            self.spool().done(settled);
        }
    }

    /// Writes down what a restart must not lose, and gives the event its number.
    fn keep(&self, event: &Arc<Event>, takers: &[&Arc<Post>]) -> u64 {
        let ended = recovery(event);
        let important = |post: &Post| {
            let ends = ended.is_some_and(|what| post.lane().has_told(what));
            ends || event.severity() >= IMPORTANT
        };
        let keepers: BTreeSet<String> = takers
            .iter()
            .filter(|post| important(post))
            .map(|post| post.name.clone())
            .collect();
        let mut spool = self.spool();
        let id = spool.number(event.at);
        if !keepers.is_empty() {
            spool.told(id, event, keepers);
        }
        id
    }

    /// The lane of the channel `name` under these rules: the one that is there, or a new one with what an earlier run
    /// left for it.
    pub(super) fn post(&self, name: &str, rules: Rules) -> Arc<Post> {
        let mut posts = self.posts.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(post) = posts.get(name) {
            post.lane().change(rules, now);
            return Arc::clone(post);
        }
        let mut lane = Lane::new(rules, now, fastrand::Rng::new());
        lane.resume(self.spool().left(name));
        let post = Arc::new(Post {
            name: name.to_owned(),
            lane: Mutex::new(lane),
            bell: Notify::new(),
        });
        posts.insert(name.to_owned(), Arc::clone(&post));
        post
    }

    /// Takes away the lanes of channels that no longer exist.
    pub(super) fn keep_only(&self, names: &BTreeSet<String>) {
        let mut posts = self.posts.write().unwrap_or_else(PoisonError::into_inner);
        posts.retain(|name, _| names.contains(name));
        drop(posts);
        let orphans = self.spool().keep_only(names);
        if orphans > 0 {
            tracing::warn!(
                "{orphans} notifications were waiting for channels that no longer exist: they are not sent"
            );
        }
    }

    /// The figures of each channel.
    pub(super) fn counts(&self) -> BTreeMap<String, Counts> {
        let posts = self.posts();
        posts
            .iter()
            .map(|post| (post.name.clone(), post.lane().counts()))
            .collect()
    }
}
