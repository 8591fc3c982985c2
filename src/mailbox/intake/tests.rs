//! Intake over a store that has no room, or fails for some of the recipients.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::identity::new_name;
use crate::metrics::Metrics;
use crate::store::{Condition, Database, GcReport, MailIntake, SqlStore, Store, Upkeep};

/// A store that remembers what it was asked.
#[derive(Debug, Clone, Default)]
struct Recorder {
    has_room: bool,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Recorder {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl MailIntake for Recorder {
    async fn find_recipient(&self, _: &[String]) -> Result<Option<Addressee>, StoreError> {
        Ok(None)
    }

    async fn has_room_for(&self, _: u64) -> bool {
        self.has_room
    }

    fn new_message(&self) -> Box<dyn IncomingMessage> {
        Box::new(self.clone())
    }

    fn is_full(&self, _: &StoreError) -> bool {
        false
    }
}

#[async_trait]
impl IncomingMessage for Recorder {
    async fn write(&mut self, _: &[u8]) -> Result<(), StoreError> {
        self.note("write");
        Ok(())
    }

    async fn deliver(
        self: Box<Self>,
        recipients: Vec<Recipient>,
    ) -> Result<Vec<Outcome>, Arc<StoreError>> {
        Ok(vec![Outcome::Stored; recipients.len()])
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        self.note("discard");
        Ok(())
    }
}

#[async_trait]
impl Upkeep for Recorder {
    async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        Ok(GcReport::default())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn condition(&self) -> Condition {
        Condition::default()
    }

    fn note_fault(&self, _: &StoreError) {
        self.note("fault");
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A service that takes mail in by this recorder.
async fn service(recorder: &Recorder) -> (Arc<MailService>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/intake.db", folder.path().display());
    let database = Database::open(&url).await.unwrap();
    let store = Store {
        intake: Arc::new(recorder.clone()),
        upkeep: Arc::new(recorder.clone()),
        ..SqlStore::new(database, new_name()).into()
    };
    let metrics = Arc::new(Metrics::exporting_to(None).unwrap());
    (MailService::new(store, metrics, true, 0), folder)
}

#[actix_rt::test]
async fn nothing_is_written_to_a_store_without_room() {
    for has_begun in [false, true] {
        let recorder = Recorder::default();
        let (service, _folder) = service(&recorder).await;
        let write = WriteMessage {
            message: has_begun.then(|| recorder.new_message()),
            octets: vec![b'a'; 100],
        };
        let written = write.run(service).await;
        assert_eq!(written.err(), Some(IntakeFault::NoSpace));
        let discarded: &[_] = if has_begun { &["discard"] } else { &[] };
        assert_eq!(recorder.calls(), discarded);
    }
}
