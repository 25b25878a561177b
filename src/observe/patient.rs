//! Work that may hang, done with patience but not for ever: a read of /etc/pve cannot be cancelled, only left alone.

use std::time::Duration;

use tokio::task::JoinHandle;

/// Something that reads where reading may block, with what it remembers between reads.
///
/// While a read hangs, the worker hangs with it and nothing new is started: one stuck thread, never two.
#[derive(Debug)]
pub(crate) struct Patient<W, R> {
    idle: Option<W>,
    busy: Option<JoinHandle<(W, R)>>,
}

impl<W: Send + 'static, R: Send + 'static> Patient<W, R> {
    pub(crate) fn new(worker: W) -> Self {
        Self {
            idle: Some(worker),
            busy: None,
        }
    }

    /// Whether the next work is begun at once, and not left aside for the result of one that ended late.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// The result of `work`, or `None` if it did not end within `limit`.
    ///
    /// Work that ends later gives its result to the next call, which then starts none of its own.
    pub(crate) async fn read(
        &mut self,
        limit: Duration,
        work: impl FnOnce(&mut W) -> R + Send + 'static,
    ) -> Option<R> {
        if let Some(mut worker) = self.idle.take() {
            self.busy = Some(tokio::task::spawn_blocking(move || {
                let result = work(&mut worker);
                (worker, result)
            }));
        }
        let (worker, result) = tokio::time::timeout(limit, self.busy.as_mut()?)
            .await
            .ok()?
            .ok()?;
        self.busy = None;
        self.idle = Some(worker);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_that_hangs_is_left_alone_until_it_ends() {
        let (release, gate) = mpsc::channel::<u32>();
        let mut patient = Patient::new(gate);
        let work = |gate: &mut mpsc::Receiver<u32>| gate.recv().unwrap();
        let limit = Duration::from_millis(1);
        assert_eq!(patient.read(limit, work).await, None);
        assert_eq!(
            patient.read(limit, work).await,
            None,
            "and starts no second one"
        );
        release.send(7).unwrap();
        assert_eq!(patient.read(Duration::from_secs(60), work).await, Some(7));
        release.send(8).unwrap();
        assert_eq!(patient.read(Duration::from_secs(60), work).await, Some(8));
    }
}
