//! A session that waits for its client and can be told something meanwhile.

use std::cell::Cell;

use tokio::sync::Notify;

/// Whether a session rests: it waits for a command, and has sent all that it had to say.
#[derive(Debug, Default)]
pub(super) struct IdleSignal {
    idle: Cell<bool>,
    interrupted: Notify,
}

impl IdleSignal {
    /// Waits until the session is to say farewell. Only meanwhile does it rest.
    pub(super) async fn interrupted(&self) {
        let _resting = Idle::new(&self.idle);
        self.interrupted.notified().await;
    }

    /// Tells a session that rests to say farewell; false if it does not rest.
    pub(super) fn interrupt(&self) -> bool {
        if self.idle.get() {
            self.interrupted.notify_one();
        }
        self.idle.get()
    }
}

/// The session rests as long as this is there.
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
