//! The actor that does what is due from time to time: garbage collection, and noting the use of
//! keys.
//!
//! It has a thread of its own, so that no session waits for it.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context};

use crate::mailbox::{CollectGarbage, Mailbox, NoteKeyUse};
use crate::store::GC_INTERVAL;

/// Interval at which the last use of keys is recorded.
const NOTE_USE_INTERVAL: Duration = Duration::from_secs(30);

/// Collects garbage and notes the use of keys.
#[derive(Debug)]
pub struct MaintenanceActor {
    mailbox: Mailbox,
}

impl MaintenanceActor {
    /// Asks this mailbox actor.
    pub fn new(mailbox: Mailbox) -> Self {
        Self { mailbox }
    }
}

impl Actor for MaintenanceActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let mailbox = self.mailbox.clone();
        let collect_garbage = async move {
            loop {
                // At once for the first time: it makes this server known to others.
                // If no actor answers, the next one is asked.
                let _ = mailbox.ask(CollectGarbage).await;
                tokio::time::sleep(GC_INTERVAL).await;
            }
        };
        let mailbox = self.mailbox.clone();
        let note_use = async move {
            loop {
                tokio::time::sleep(NOTE_USE_INTERVAL).await;
                let _ = mailbox.ask(NoteKeyUse).await;
            }
        };
        context.spawn(actix::fut::wrap_future(collect_garbage));
        context.spawn(actix::fut::wrap_future(note_use));
    }
}
