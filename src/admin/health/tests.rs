//! The checks, and what they make of a store that does not answer.

use actix_rt::Arbiter;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::identity::new_name;
use crate::mailbox::MailService;
use crate::metrics::Metrics;
use crate::store::{Database, GcReport, SqlStore, Store, StoreError, Upkeep};

#[test]
fn durations_are_written_as_dot_net_does() {
    for (duration, text) in [
        (Duration::ZERO, "00:00:00.0000000"),
        (Duration::from_nanos(12_345_699), "00:00:00.0123456"),
        (Duration::from_millis(3_723_500), "01:02:03.5000000"),
    ] {
        let written = time_span(&duration, serde_json::value::Serializer);
        assert_eq!(written.unwrap(), text);
    }
}

#[test]
fn a_certificate_is_to_be_renewed_two_weeks_before_it_ends() {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let ending = |not_after| CertificateReport {
        file: "chain.pem".into(),
        names: Vec::new(),
        not_after,
    };
    for (left, status) in [
        (now + day * 90, Status::Healthy),
        (now + day * 14, Status::Healthy),
        (now + day * 14 - Duration::from_secs(1), Status::Degraded),
        (now, Status::Degraded),
        (now - Duration::from_secs(1), Status::Unhealthy),
    ] {
        let others = [ending(now + day * 100), ending(left)];
        assert_eq!(check_certificates(&others, now).status, status);
    }
}

#[test]
fn the_worst_check_is_what_counts() {
    assert!(Status::Unhealthy > Status::Degraded && Status::Degraded > Status::Healthy);
}

/// A store that answers, and fails when it is asked for its condition.
struct WithoutCondition;

#[async_trait]
impl Upkeep for WithoutCondition {
    async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        Ok(GcReport::default())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn condition(&self) -> Condition {
        panic!("injected")
    }

    fn note_fault(&self, _: &StoreError) {}

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[actix_rt::test]
async fn a_store_whose_condition_is_unknown_is_unhealthy() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/health.db", folder.path().display());
    let database = Database::open(&url).await.unwrap();
    database.migrate().await.unwrap();
    let store = Store::from(SqlStore::new(database, new_name()));
    let unknown = Store {
        upkeep: Arc::new(WithoutCondition),
        ..store.clone()
    };
    for (store, status) in [(store, Status::Healthy), (unknown, Status::Unhealthy)] {
        let metrics = Arc::new(Metrics::exporting_to(None).unwrap());
        let service = MailService::new(store, metrics, true, 0);
        let stop = CancellationToken::new();
        let mailbox = Mailbox::spawn(&service, &Arbiter::current(), stop);
        let health = Health::new(Vec::new(), SelfTests::default(), mailbox, None);
        let report = health.report(FRESH).await;
        assert_eq!(report.status, status, "{report:?}");
    }
}
