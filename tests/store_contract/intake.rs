//! Deliveries with several recipients, quotas, and commits that several share.

use restante::accounts::{Accounts, Quota};
use restante::store::{Database, Delivery, Intake, Outcome, Recipient, StoreError, UserId};

use super::number;
use crate::support::mail::{ADA, BOB, add, message, octets, prepare};
use crate::support::place::on_each;

/// A delivery of so many octets for these users, each with a head of 9 octets.
async fn delivery(database: &Database, octets: usize, users: &[UserId]) -> Delivery {
    let recipient = |user: &UserId| Recipient {
        user: *user,
        trace_headers: b"X: head\r\n".to_vec(),
    };
    Delivery {
        message: prepare(database, &message(octets as u64, octets)).await,
        recipients: users.iter().map(recipient).collect(),
    }
}

#[test]
fn each_recipient_has_an_outcome_and_whoever_is_named_twice_one_copy() {
    on_each(async |place| {
        use Outcome::{NoSuchUser, OverQuota, Stored};
        let server = place.server().await;
        let database = place.open().await;
        let (ada, nobody) = (add(&database, ADA).await, UserId::from_row(4711));
        let quota = Quota {
            octets: Some(209),
            messages: Some(2),
        };
        let accounts = Accounts::new(database.clone());
        let bob = accounts.add_with_quota(BOB, &[], quota).await.unwrap();
        let users = [nobody, bob, ada, bob, ada];
        // With its head, the first is one octet more than Bob may have.
        let deliveries = [
            delivery(&database, 201, &users).await,
            delivery(&database, 100, &users).await,
            delivery(&database, 91, &users).await,
            delivery(&database, 91, &[bob]).await,
        ];
        let outcomes = database.deliver(&deliveries).await.unwrap();
        let both = vec![NoSuchUser, Stored, Stored, Stored, Stored];
        let only_ada = vec![NoSuchUser, OverQuota, Stored, OverQuota, Stored];
        assert_eq!(outcomes, [only_ada, both.clone(), both, vec![OverQuota]]);
        let adas = server.open(ada, 0).await.unwrap();
        assert_eq!((adas.snapshot.len(), adas.snapshot.octets()), (3, 419));
        let bobs = server.open(bob, 0).await.unwrap();
        assert_eq!((bobs.snapshot.len(), bobs.snapshot.octets()), (2, 209));
        let sql = place.sql().await;
        assert_eq!(sql.count("contents").await, 3);
        assert_eq!(sql.count("trace_headers").await, 5);
    });
}

#[test]
fn a_large_letter_that_nobody_gets_leaves_nothing() {
    on_each(async |place| {
        let database = place.open().await;
        let sql = place.sql().await;
        let large = delivery(&database, 3_000_000, &[UserId::from_row(4711)]).await;
        assert!(sql.count("chunks").await > 0);
        let outcomes = database.deliver(&[large]).await.unwrap();
        assert_eq!(outcomes, [[Outcome::NoSuchUser]]);
        for table in ["contents", "chunks", "pending_contents"] {
            assert_eq!(sql.count(table).await, 0, "{table}");
        }
    });
}

#[test]
fn letters_that_come_at_once_are_all_stored_once() {
    const DELIVERIES: usize = 150;
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let intake = Intake::new(database.clone());
        let mut deliveries = Vec::new();
        for at in 0..DELIVERIES {
            let delivery = delivery(&database, 100 + at, &[ada]).await;
            let intake = intake.clone();
            deliveries.push(actix_rt::spawn(
                async move { intake.deliver(delivery).await },
            ));
        }
        for delivery in deliveries {
            let delivered = delivery.await.unwrap().unwrap();
            assert_eq!(delivered.outcomes, [Outcome::Stored]);
        }
        let maildrop = server.open(ada, 0).await.unwrap();
        assert_eq!(maildrop.snapshot.len(), DELIVERIES);
        let mut lengths = Vec::new();
        for at in 1..=DELIVERIES as u64 {
            let stored = maildrop.stored(number(at)).unwrap();
            lengths.push(octets(&server, stored).await.len());
        }
        lengths.sort_unstable();
        let expected: Vec<usize> = (0..DELIVERIES).map(|at| 109 + at).collect();
        assert_eq!(lengths, expected);
    });
}

#[test]
fn a_letter_that_can_not_be_stored_takes_no_other_with_it() {
    on_each(async |place| {
        let server = place.server().await;
        let database = place.open().await;
        let ada = add(&database, ADA).await;
        let sql = place.sql().await;
        let intake = Intake::new(database.clone());
        let mut deliveries = Vec::new();
        for at in 0..10 {
            deliveries.push(delivery(&database, 2_000_000 + at, &[ada]).await);
        }
        // As if nothing had arrived of it for an hour.
        sql.run(
            "DELETE FROM pending_contents WHERE content_id = (SELECT MIN(content_id) FROM pending_contents)",
        )
        .await;
        let deliveries: Vec<_> = deliveries
            .into_iter()
            .map(|delivery| {
                let intake = intake.clone();
                actix_rt::spawn(async move { intake.deliver(delivery).await })
            })
            .collect();
        let mut stored = 0;
        for delivery in deliveries {
            match delivery.await.unwrap() {
                Ok(delivered) => {
                    assert_eq!(delivered.outcomes, [Outcome::Stored]);
                    stored += 1;
                }
                Err(error) => assert!(matches!(*error, StoreError::DeliveryExpired), "{error}"),
            }
        }
        assert_eq!(stored, 9);
        assert_eq!(server.open(ada, 0).await.unwrap().snapshot.len(), 9);
    });
}
