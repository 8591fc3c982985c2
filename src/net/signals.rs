//! Signals from the actor of a session to its conversation.

use std::cell::Cell;

use tokio::sync::Notify;

/// Tells a conversation to say goodbye or to end, on the thread where it runs.
#[derive(Debug, Default)]
pub struct SessionSignals {
    idle: Cell<bool>,
    interrupted: Notify,
    killed: Notify,
    is_killed: Cell<bool>,
}

impl SessionSignals {
    /// Waits until the session has to say goodbye. It counts as idle meanwhile.
    pub(crate) async fn interrupted(&self) {
        let _idle = Idle::new(&self.idle);
        self.interrupted.notified().await;
    }

    /// Tells an idle session to say goodbye; returns false if it is not idle.
    pub(crate) fn interrupt(&self) -> bool {
        if self.idle.get() {
            self.interrupted.notify_one();
        }
        self.idle.get()
    }

    /// Waits until the session is killed.
    pub(crate) async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Returns true once the session has been killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.get()
    }

    /// Runs a conversation until its end, or until the session is killed, which drops it.
    pub(crate) async fn until_killed<T>(&self, conversation: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.killed() => None,
            ending = conversation => Some(ending),
        }
    }

    /// Ends the session at once.
    pub(super) fn kill(&self) {
        self.is_killed.set(true);
        self.killed.notify_one();
    }
}

/// Marks the session as idle until it is dropped.
struct Idle<'a>(&'a Cell<bool>);

impl<'a> Idle<'a> {
    fn new(idle: &'a Cell<bool>) -> Self {
        idle.set(true);
        Self(idle)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
