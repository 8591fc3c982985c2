//! Intake over a store that has no room, or fails for some of the recipients.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::identity::new_name;
use crate::metrics::Metrics;
use crate::store::{Condition, Database, GcReport, MailIntake, SqlStore, Store, Upkeep, UserId};

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
    ) -> Result<Delivered, Arc<StoreError>> {
        let mut outcomes = vec![Outcome::Stored; recipients.len()];
        if let [_, others @ ..] = outcomes.as_mut_slice() {
            others.fill(Outcome::Failed);
        }
        let has_failed = outcomes.contains(&Outcome::Failed);
        let fault = has_failed.then(|| Arc::new(StoreError::Corrupt("injected".into())));
        Ok(Delivered { outcomes, fault })
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

#[actix_rt::test]
async fn a_fault_after_the_first_copies_is_counted_and_told_to_the_store() {
    for (count, faults) in [(1, 0), (3, 1)] {
        let recorder = Recorder::default();
        let (service, _folder) = service(&recorder).await;
        let recipient = |number| Recipient {
            user: UserId::from_row(number),
            trace_headers: Vec::new(),
        };
        let deliver = Deliver {
            message: None,
            octets: b"hi\r\n".to_vec(),
            recipients: (0..count).map(recipient).collect(),
        };
        let outcomes = deliver.run(Arc::clone(&service)).await.unwrap();
        let stored = |outcome: &&Outcome| **outcome == Outcome::Stored;
        assert_eq!(outcomes.iter().filter(stored).count(), 1);
        let noted = recorder.calls();
        assert_eq!(
            noted.iter().filter(|call| **call == "fault").count(),
            faults
        );
        let metrics = service.metrics.render().unwrap();
        let counted = format!("restante_database_errors_total {faults}\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}
