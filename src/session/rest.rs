//! A session that waits for its client and can be told something meanwhile.

use std::cell::Cell;

use tokio::sync::Notify;

/// Whether a session rests: it waits for a command, and has sent all that it had to say.
#[derive(Debug, Default)]
pub(super) struct Rest {
    resting: Cell<bool>,
    disturbed: Notify,
}

impl Rest {
    /// Waits until the session is to say farewell. Only meanwhile does it rest.
    pub(super) async fn disturbed(&self) {
        let _resting = Resting::new(&self.resting);
        self.disturbed.notified().await;
    }

    /// Tells a session that rests to say farewell; false if it does not rest.
    pub(super) fn disturb(&self) -> bool {
        if self.resting.get() {
            self.disturbed.notify_one();
        }
        self.resting.get()
    }
}

/// The session rests as long as this is there.
struct Resting<'a>(&'a Cell<bool>);

impl<'a> Resting<'a> {
    fn new(resting: &'a Cell<bool>) -> Self {
        resting.set(true);
        Self(resting)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
